"""Log the progress of long work; the command line shows the log on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from logging import Logger

FIRST_SECONDS = 2.0
EVERY_SECONDS = 10.0


class Ticker:
    """Logs progress after two seconds at the earliest, then every ten seconds.

    Args:
        logger: target of the messages.
        title: description of the work, such as ``listing DIR``.
        unit: unit of the count, in the plural.
        total: total count; None if unknown.
        clock: time in seconds, replaced in tests.
    """

    def __init__(
        self,
        logger: Logger,
        title: str,
        unit: str,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._title = title
        self._unit = unit
        self._total = total
        self._clock = clock
        self._next = clock() + FIRST_SECONDS

    def __call__(self, done: int) -> None:
        """Log the number of finished units, if enough time has passed."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        share = f"{done:,}" if self._total is None else f"{done:,} of {self._total:,}"
        self._logger.info("%s: %s %s", self._title, share, self._unit)
