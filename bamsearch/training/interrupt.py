"""Ctrl-C, and the signal that clusters send before they end a job, as a question between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop(*, wait: bool) -> Iterator[Callable[[], bool]]:
    """Hold back SIGINT and SIGTERM while the block runs; the second one interrupts at once.

    Args:
        wait: False changes nothing: signals do what they did. So it is outside the main thread.

    Yields:
        Whether one has come. The block is to raise KeyboardInterrupt when it is ready.
    """
    came = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if not wait or threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    # What a shell lets a background job ignore stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
