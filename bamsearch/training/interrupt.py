"""Handle SIGINT and SIGTERM, which clusters send before they end a job."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def defer_signals(*, wait: bool) -> Iterator[Callable[[], bool]]:
    """Defer the first SIGINT or SIGTERM during the block; a second one interrupts immediately.

    Without ``wait``, and outside the main thread, the existing handlers stay.

    Yields:
        A function that tells whether a signal has arrived. The block should then raise
        KeyboardInterrupt at its next safe point.
    """
    received = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if received.is_set():
            raise KeyboardInterrupt
        received.set()

    if not wait or threading.current_thread() is not threading.main_thread():
        yield received.is_set
        return
    # Signals that the shell ignores for a background job stay ignored.
    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with _handled(dict.fromkeys(numbers, note)):
        yield received.is_set


@contextmanager
def record_signals() -> Iterator[Callable[[], bool]]:
    """Record whether SIGINT or SIGTERM raised KeyboardInterrupt during the block.

    Python discards exceptions raised in weak reference callbacks and ``__del__``, which may hit an
    interrupt. Outside the main thread nothing is recorded.

    Yields:
        A function that tells whether a signal has arrived. The block should check it between steps,
        and raise KeyboardInterrupt again.
    """
    received = threading.Event()

    def noting(handler: Callable[[int, FrameType | None], object]) -> _Handler:
        def note(number: int, frame: FrameType | None) -> None:
            received.set()
            handler(number, frame)

        return note

    if threading.current_thread() is not threading.main_thread():
        yield received.is_set
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with _handled({n: noting(handler) for n, handler in before.items() if callable(handler)}):
        yield received.is_set


@contextmanager
def _handled(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Install signal handlers during the block."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
