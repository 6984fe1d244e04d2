"""Says how far long work is, in the log: the command line shows it on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from logging import Logger

FIRST_SECONDS = 2.0
EVERY_SECONDS = 10.0


class Ticker:
    """Logs how much is done, at the earliest after two seconds, then every ten.

    Args:
        logger: where to.
        title: what is being done, such as ``listing DIR``.
        unit: what is counted, in the plural.
        total: how many there are; None where that is not known.
        clock: seconds, for tests.
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
        """Log, if it is time to.

        Args:
            done: how many of them.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        share = f"{done:,}" if self._total is None else f"{done:,} of {self._total:,}"
        self._logger.info("%s: %s %s", self._title, share, self._unit)
