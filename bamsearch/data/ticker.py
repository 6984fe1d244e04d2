"""Log the progress of long work; the command line shows the log on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import Logger

FIRST_SECONDS = 2.0
EVERY_SECONDS = 10.0


@dataclass
class Ticker:
    """Logs progress after two seconds at the earliest, then every ten seconds.

    Attributes:
        logger: target of the messages.
        title: description of the work, such as ``listing DIR``.
        unit: unit of the count, in the plural.
        total: total count; None if unknown.
        clock: time in seconds, replaced in tests.
    """

    logger: Logger
    title: str
    unit: str
    total: int | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._next = self.clock() + FIRST_SECONDS

    def __call__(self, done: int) -> None:
        """Log the number of finished units, if enough time has passed."""
        now = self.clock()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        share = f"{done:,}" if self.total is None else f"{done:,} of {self.total:,}"
        self.logger.info("%s: %s %s", self.title, share, self.unit)
