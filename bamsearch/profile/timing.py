"""Times: one model's, or two models' against each other.

Base and base with BAM differ by a few per cent, less than a machine drifts between two runs. So two
models are timed in pairs, A B or B A, in an order drawn at random for each pair. The median of the
ratios within the pairs is reported, with a bootstrap interval over the pairs. A disturbance of both
halves of a pair cancels in its ratio. A drift or a periodic disturbance makes a ratio too large or
too small with equal chance, so the interval covers it; in any fixed order some period hits the same
model every time. The median is insensitive to pairs in which a burst hit only one half. Raw samples
are kept.

On a CPU a network's place in memory alone makes it up to 4 % faster or slower, for as long as it
stays there: no number of samples cancels that. So before each pair both are put elsewhere, in
random order: what an allocator does with a regular one is regular, and favours one of the two.

``benchmarks/coverage_latency.py`` simulates the interval's coverage, ``benchmarks/aa_test.py``
measures it. Two variants were worse on 65 series of resnet18 against itself on two overloaded
cores: sums over whole rounds A B B A, which cancel a drift to the last digit but let a burst spoil
four samples (intervals wider by a third to a half), and a bootstrap in blocks of four pairs (too
narrow: successive ratios are not correlated, and there are few blocks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Unpack

import numpy as np
from scipy import stats
from torch import nn

from bamsearch.profile.clock import Clock, clock_for
from bamsearch.profile.conditions import Conditions, caller_kept, explained
from bamsearch.profile.workload import Workload, workload, workloads
from bamsearch.records import PairedTiming, Timing, check_positive

CONFIDENCE = 0.95
_RESAMPLES = 9_999
# From least to greatest, six ratios hold their median in 97 % of all cases, five only in 94 %.
_LEAST_PAIRS = 6
# A sample is at least this long, so that the clock's own grain does not matter.
_SAMPLE_MS = 10.0
_MOST_CALLS = 100_000
# Warm-up compares the last five samples with the five before.
_WINDOW = 5
_STABLE = 0.02
_WARM_UP_MS = 5_000.0
_WARM_UP_SAMPLES = 500


def time_model(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    samples: int = 30,
    clock: Clock | None = None,
    **conditions: Unpack[Conditions],
) -> Timing:
    """Time a model's forward pass, or forward and backward.

    The input is allocated once, in advance. Warm-up goes on until the time is stable. The model is
    not changed: a copy goes to the device.

    Args:
        model: any module that takes one tensor.
        input_shape: one input without the batch: (C, H, W) or (C, T, H, W).
        samples: how many, each the mean of as many calls as make at least 10 ms.
        clock: what measures; None is the device's own.
        conditions: ``device``, ``batch_size``, ``dtype``, ``memory_format``, ``mode``, ``train``
            and ``threads``, see :class:`bamsearch.profile.conditions.Conditions`.

    Returns:
        The samples, in milliseconds a call, with all that they depend on.

    Raises:
        InvalidValueError: an impossible number, shape or condition.
        DeviceError: no such device, too little memory there, a dtype it lacks, or a model that
            cannot be compiled, captured or trained.
    """
    check_positive("samples", samples)
    work = workload(model, input_shape, **conditions)
    [timing] = _sample([model], [work], [[0]] * samples, clock)
    return timing


def time_pair(
    a: nn.Module,
    b: nn.Module,
    input_shape: Sequence[int],
    *,
    samples: int = 40,
    seed: int = 0,
    clock: Clock | None = None,
    **conditions: Unpack[Conditions],
) -> PairedTiming:
    """Time two models in pairs of random order, and compare them pair by pair.

    Args:
        a: the one to compare with.
        b: the one compared.
        input_shape: one input without the batch.
        samples: number of pairs; fewer than 6 are raised to 6.
        seed: random seed of the order within each pair, and of the bootstrap.
        clock: as :func:`time_model`.
        conditions: as :func:`time_model`.

    Returns:
        Both timings, and the median of time(b) / time(a) with its interval.

    Raises:
        InvalidValueError, DeviceError: as :func:`time_model`; both models must fit at once.
    """
    pairs = max(_LEAST_PAIRS, check_positive("samples", samples))
    # A child's stream is independent of its parent's, which is the bootstrap's.
    [random] = np.random.default_rng(seed).spawn(1)
    order = random.permuted([[0, 1]] * pairs, axis=1)
    works = workloads([a, b], input_shape, **conditions)
    first, second = _sample([a, b], works, order.tolist(), clock)
    low, ratio, high = paired_ratio(first.samples, second.samples, seed=seed)
    return PairedTiming(first, second, ratio, low, high, CONFIDENCE)


def paired_ratio(
    a: Sequence[float], b: Sequence[float], *, seed: int = 0
) -> tuple[float, float, float]:
    """The median of b / a over pairs, between the ends of its 95 % percentile bootstrap interval.

    Args:
        a: times of A.
        b: times of B; those with the same number make a pair.
        seed: of the bootstrap.

    Returns:
        (low, median, high).
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
    models: Sequence[nn.Module],
    works: Sequence[Workload],
    order: Sequence[Sequence[int]],
    clock: Clock | None,
) -> list[Timing]:
    """Warm all workloads up, then take samples of them, group by group in the order given."""
    work, threads = works[0], works[0].facts.threads or 1
    clock = clock or clock_for(work.device, threads)
    names = " or ".join(dict.fromkeys(type(model).__name__ for model in models))
    with (
        caller_kept(work.device, threads),
        explained(names, work.batch_size, work.dtype, work.mode, work.device),
    ):
        # The same number for all: one that makes the shortest of them long enough.
        repeats = max(_warm_up(clock, work.run) for work in works)
        times: list[list[float]] = [[] for _ in works]
        turns = np.random.default_rng(0)
        for group in order:
            if len(works) > 1 and work.device.type == "cpu":
                for which in turns.permutation(len(works)):
                    works[which].move()
            for which in group:
                times[which].append(clock.milliseconds(works[which].run, repeats))
    return [_timing(work, taken, repeats) for work, taken in zip(works, times, strict=True)]


def _warm_up(clock: Clock, run: Callable[[], object]) -> int:
    """Call run until its time is stable, but not for ever; return how many calls make one sample.

    Stable: the medians of the last five samples and of the five before differ by at most 2 %, or
    by no more than noise makes them differ, half the interquartile range of all ten. (A steady
    drift is no noise: there the medians are further apart than that.)
    """
    repeats, spent = 1, 0.0
    recent: list[float] = []
    for _ in range(_WARM_UP_SAMPLES):
        one = clock.milliseconds(run, repeats)
        length = one * repeats
        spent += length
        if length < _SAMPLE_MS and repeats < _MOST_CALLS:
            # Aim at twice the length, so that a faster call later does not lengthen it again.
            wanted = ceil(2 * _SAMPLE_MS / max(one, 1e-6))
            repeats = min(wanted, 10 * repeats, _MOST_CALLS)
            recent.clear()
            continue
        recent.append(one)
        if spent >= _WARM_UP_MS or _is_stable(recent[-2 * _WINDOW :]):
            break
    return repeats


def _is_stable(recent: Sequence[float]) -> bool:
    if len(recent) < 2 * _WINDOW:
        return False
    before, now = np.median(recent[:_WINDOW]), np.median(recent[_WINDOW:])
    noise = float(stats.iqr(recent)) / 2
    return bool(abs(now - before) <= max(_STABLE * now, noise))


def _timing(work: Workload, samples: Sequence[float], repeats: int) -> Timing:
    return Timing(
        tuple(samples),
        repeats,
        work.input_shape,
        work.batch_size,
        work.dtype,
        work.memory_format,
        work.mode,
        work.train,
        work.facts,
    )
