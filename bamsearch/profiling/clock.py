"""Clocks that time calls on a device, in milliseconds. Tests use fake clocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch.utils.benchmark import Timer


@runtime_checkable
class Clock(Protocol):
    """Anything that times a call."""

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """Call run at least repeats times; return the mean time of one call, in milliseconds."""
        ...


class CpuClock:
    """``torch.utils.benchmark``: wall-clock time, threads fixed, garbage collection off.

    Each sample is preceded by two uncounted calls, or 1% of the sample's calls if that is more, so
    that it does not start with another model's weights in the cache. For a slow model (one call
    per sample) this triples the time to measure.

    Args:
        threads: number of torch threads during a sample; the caller's number is restored.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """The mean time of one call, in milliseconds."""
        timer = Timer("run()", globals={"run": run}, num_threads=self.threads)
        return timer.timeit(repeats).mean * 1e3


class CudaClock:
    """CUDA events around all calls of a sample, without synchronisation between the calls.

    This measures the time on the device's stream. If Python launches kernels more slowly than the
    device runs them, as with a small model in eager mode, it is the launch time.

    Args:
        device: device with the current stream of the calls; None is the current device.
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
        device: device of the calls.
        threads: number of torch threads on a CPU.
    """
    if device.type == "cuda":
        return CudaClock(device)
    return MpsClock() if device.type == "mps" else CpuClock(threads)
