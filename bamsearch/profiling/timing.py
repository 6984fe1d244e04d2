"""Measure the latency of a model, or compare two models.

A base and the base with BAM differ by a few percent, less than a machine drifts between two runs.
So two models are timed in pairs, A B or B A, in random order within each pair. The result is the
median of the ratios of the pairs, with a bootstrap interval over the pairs. A disturbance of both
halves of a pair cancels in its ratio. A drift or a periodic disturbance makes a ratio too large or
too small with equal probability, so the interval covers it; with a fixed order, some period always
affects the same model. The median is robust against pairs in which a burst hits only one half. The
raw samples are recorded.

On a CPU, the memory addresses of a network change its latency by up to 4%, for as long as it stays
there: more samples do not help. So both networks are moved before each pair, in random order,
because with a regular order the allocator's behaviour is regular and favours one of them.

``benchmarks/coverage_latency.py`` simulates the interval's coverage, ``benchmarks/aa_test.py``
measures it. Two variants were worse on 65 series of resnet18 against itself on two overloaded
cores: sums over whole rounds A B B A, which cancel drift exactly but let a burst spoil four samples
(intervals wider by a third to a half), and a bootstrap in blocks of four pairs (too narrow:
successive ratios are uncorrelated, and there are few blocks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import ceil
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.utils.benchmark import Timer

from bamsearch.errors import InvalidValueError
from bamsearch.graph.models import named_module
from bamsearch.profiling.conditions import (
    Conditions,
    as_device_error,
    preserve_torch_state,
    recorded,
)
from bamsearch.profiling.workload import Workload, workloads
from bamsearch.records import InputShape, PairedTiming, Timing, check_positive
from bamsearch.records.arguments import checked

CONFIDENCE = 0.95
_RESAMPLES = 9_999
# The range of six ratios contains the true median with 97% probability, that of five with 94%.
_LEAST_PAIRS = 6
# Minimum length of a sample, so that the clock's resolution does not matter.
_SAMPLE_MS = 10.0
_MOST_CALLS = 100_000
# Warm-up compares the last five samples with the five before.
_WINDOW = 5
_STABLE = 0.02
_WARM_UP_MS = 5_000.0
_WARM_UP_SAMPLES = 500


@runtime_checkable
class Clock(Protocol):
    """Anything that times a call. Tests use fake clocks."""

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


class EventClock:
    """Events of a GPU around all calls of a sample, without synchronisation between the calls.

    This measures the time on the device's stream. If Python launches kernels more slowly than the
    device runs them, as with a small model in eager mode, it is the launch time.

    Args:
        device: a CUDA device with the current stream of the calls, or mps.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        """The mean time of one call, in milliseconds."""
        gpu: Any = getattr(torch, self.device.type)
        with gpu.device(self.device) if self.device.type == "cuda" else nullcontext():
            start, end = gpu.Event(enable_timing=True), gpu.Event(enable_timing=True)
            gpu.synchronize()
            start.record()
            for _ in range(repeats):
                run()
            end.record()
            gpu.synchronize()
            return float(start.elapsed_time(end)) / repeats


def clock_for(device: torch.device, threads: int = 1) -> Clock:
    """The clock of a device; threads is the number of torch threads on a CPU."""
    return CpuClock(threads) if device.type == "cpu" else EventClock(device)


@checked
def time_model(
    model: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    samples: int = 30,
    clock: Clock | None = None,
    **conditions: Unpack[Conditions],
) -> Timing:
    """Time a model's forward pass, or forward and backward.

    The input is allocated once, in advance. Warm-up continues until the time is stable. The model
    is not changed: a copy runs on the device.

    Args:
        model: any module that takes one tensor, or a MODEL such as ``"resnet18"``.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`.
        samples: number of samples, each the mean over enough calls to take at least 10 ms.
        clock: clock for the timing; None is the device's default.
        conditions: ``device``, ``batch_size``, ``dtype``, ``memory_format``, ``mode``, ``train``
            and ``threads``, see :class:`bamsearch.profiling.conditions.Conditions`.

    Returns:
        The samples, in milliseconds per call, with all conditions.

    Raises:
        InvalidValueError: an invalid number, shape or condition.
        DeviceError: unknown device, too little memory, unsupported dtype, or a model that cannot be
            compiled, captured or trained.
    """
    check_positive("samples", samples)
    _, model, shape = named_module(model, input_shape)
    works = workloads([model], shape, **conditions)
    return _sample(works, [[0]] * samples, clock)[0]


@checked
def time_pair(
    a: nn.Module | str,
    b: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    samples: int = 40,
    seed: int = 0,
    clock: Clock | None = None,
    **conditions: Unpack[Conditions],
) -> PairedTiming:
    """Time two models in pairs of random order, and compare them pair by pair.

    Args:
        a: the reference model, a module or a MODEL.
        b: the model to compare with it.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`; None is the default of a.
        samples: number of pairs, at least 6; smaller numbers are raised to 6.
        seed: random seed of the order within pairs and of the bootstrap.
        clock: as :func:`time_model`.
        conditions: as :func:`time_model`.

    Returns:
        Both timings, and the median of time(b) / time(a) with its confidence interval.

    Raises:
        InvalidValueError, DeviceError: as :func:`time_model`; both models must fit at once.
    """
    pairs = max(_LEAST_PAIRS, check_positive("samples", samples))
    if seed < 0:
        raise InvalidValueError(f"seed must be 0 or more, not {seed}")
    # The child's stream is independent of the parent's, which the bootstrap uses.
    [random] = np.random.default_rng(seed).spawn(1)
    order = random.permuted([[0, 1]] * pairs, axis=1)
    _, a, shape = named_module(a, input_shape)
    _, b, shape = named_module(b, shape)
    works = workloads([a, b], shape, **conditions)
    first, second = _sample(works, order.tolist(), clock)
    low, ratio, high = paired_ratio(first.samples, second.samples, seed=seed)
    return PairedTiming(first, second, ratio, low, high, CONFIDENCE)


def paired_ratio(
    a: Sequence[float], b: Sequence[float], *, seed: int = 0
) -> tuple[float, float, float]:
    """Low, median and high of b / a over pairs, with a 95% percentile bootstrap interval.

    Times are paired by index; the seed is that of the bootstrap.
    """
    ratios = np.asarray(b) / np.asarray(a)
    middle = float(np.median(ratios))
    if np.ptp(ratios) == 0:
        return middle, middle, middle
    interval = stats.bootstrap(
        (ratios,),
        np.median,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), middle, float(interval.high)


def _sample(
    works: Sequence[Workload], order: Sequence[Sequence[int]], clock: Clock | None
) -> list[Timing]:
    """Warm up all workloads, then sample them group by group, in order."""
    work, threads = works[0], works[0].facts.threads or 1
    clock = clock or clock_for(work.device, threads)
    names = " or ".join(dict.fromkeys(type(work.module).__name__ for work in works))
    with (
        preserve_torch_state(work.device, threads),
        as_device_error(names, work.device, work.conditions),
    ):
        # The same number for all, large enough for the fastest workload.
        repeats = max(_warm_up(clock, work.run) for work in works)
        times: list[list[float]] = [[] for _ in works]
        turns = np.random.default_rng(0)
        for group in order:
            if len(works) > 1 and work.device.type == "cpu":
                for index in turns.permutation(len(works)):
                    works[index].move()
            for index in group:
                times[index].append(clock.milliseconds(works[index].run, repeats))
    return [
        Timing(tuple(samples), repeats, work.input_shape, **recorded(work.conditions, work.facts))
        for work, samples in zip(works, times, strict=True)
    ]


def _warm_up(clock: Clock, run: Callable[[], object]) -> int:
    """Call run until its time is stable, within limits; return the number of calls per sample.

    Stable means that the medians of the last five samples and of the five before differ by at most
    2%, or by at most half the interquartile range of all ten, which is the effect of noise. (Under
    a steady drift the medians differ by more.)
    """
    repeats, spent = 1, 0.0
    recent: list[float] = []
    for _ in range(_WARM_UP_SAMPLES):
        call_ms = clock.milliseconds(run, repeats)
        length = call_ms * repeats
        spent += length
        if length < _SAMPLE_MS and repeats < _MOST_CALLS:
            # Aim at twice the length, so that a faster call later does not raise the number again.
            wanted = ceil(2 * _SAMPLE_MS / max(call_ms, 1e-6))
            repeats = min(wanted, 10 * repeats, _MOST_CALLS)
            recent.clear()
            continue
        recent.append(call_ms)
        if spent >= _WARM_UP_MS or _is_stable(recent[-2 * _WINDOW :]):
            break
    return repeats


def _is_stable(recent: Sequence[float]) -> bool:
    if len(recent) < 2 * _WINDOW:
        return False
    before, now = np.median(recent[:_WINDOW]), np.median(recent[_WINDOW:])
    noise = float(stats.iqr(recent)) / 2
    return bool(abs(now - before) <= max(_STABLE * now, noise))
