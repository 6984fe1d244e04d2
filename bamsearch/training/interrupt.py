"""Ctrl-C, and the signal that clusters send before they end a job: held back, or not forgotten."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_Handler = Callable[[int, FrameType | None], None]


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
    with _handled(dict.fromkeys(heard, note)):
        yield came.is_set


@contextmanager
def remembered() -> Iterator[Callable[[], bool]]:
    """Remember that SIGINT or SIGTERM has raised KeyboardInterrupt while the block ran.

    Python drops what is raised while a weak reference is cleared or an object is deleted, and an
    interrupt may fall there. Outside the main thread nothing is remembered.

    Yields:
        Whether one has come. The block is to ask between two steps, and to raise it again.
    """
    came = threading.Event()

    def noting(handler: Callable[[int, FrameType | None], object]) -> _Handler:
        def note(number: int, frame: FrameType | None) -> None:
            came.set()
            handler(number, frame)

        return note

    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with _handled({n: noting(handler) for n, handler in before.items() if callable(handler)}):
        yield came.is_set


@contextmanager
def _handled(handlers: Mapping[signal.Signals, _Handler]) -> Iterator[None]:
    """Handle signals so while the block runs."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
