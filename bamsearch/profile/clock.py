"""Clocks: how long a call takes on a device, in milliseconds. Tests give one of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch.utils.benchmark import Timer


class Clock(Protocol):
    """Anything that times a call."""

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """Call run at least repeats times; return the mean time of one of them, in milliseconds."""
        ...


class CpuClock:
    """``torch.utils.benchmark``: wall-clock time, threads fixed, garbage collection off.

    Before every sample it makes two calls, or a hundredth of the sample if that is more, which are
    not counted. So a sample does not begin with another model's weights in the cache; a slow model
    (one call a sample) takes three times as long to measure.

    Args:
        threads: torch's threads while it runs; the caller's number comes back afterwards.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """The mean time of one call, in milliseconds."""
        timer = Timer("run()", globals={"run": run}, num_threads=self.threads)
        return timer.timeit(repeats).mean * 1e3


class CudaClock:
    """CUDA events around all calls of a sample, without a synchronisation between them.

    What is measured is the time on the device's stream. Where Python launches kernels more slowly
    than the device runs them, as with a small model in eager mode, that is the time of launching.

    Args:
        device: whose current stream the calls use; None is the current device.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """The mean time of one call, in milliseconds."""
        with torch.cuda.device(self.device):
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            start.record()
            for _ in range(repeats):
                run()
            end.record()
            torch.cuda.synchronize()
            return float(start.elapsed_time(end)) / repeats


class MpsClock:
    """Metal events around all calls of a sample."""

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """The mean time of one call, in milliseconds."""
        start = torch.mps.Event(enable_timing=True)
        end = torch.mps.Event(enable_timing=True)
        torch.mps.synchronize()
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        torch.mps.synchronize()
        return float(start.elapsed_time(end)) / repeats


def clock_for(device: torch.device, threads: int = 1) -> Clock:
    """The clock of a device.

    Args:
        device: where the calls run.
        threads: torch's threads on a CPU.
    """
    if device.type == "cuda":
        return CudaClock(device)
    return MpsClock() if device.type == "mps" else CpuClock(threads)
