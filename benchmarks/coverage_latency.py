"""Coverage of the interval of ``time_pair`` under simulated disturbances.

The clock is simulated: it returns 20 ms times the true ratio times a disturbance. Order, medians
and bootstrap are those of bamsearch. ``python benchmarks/coverage_latency.py`` prints all rows.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from coverage_verify import Row, row
from torch import nn

from bamsearch.profiling.timing import time_pair

REPETITIONS = 400
PAIRS = 40
RATIOS = (1.0, 1.05)
# Noise of a single sample: aa_test.md measured an interquartile range of 4.3% of the median.
_NOISE = 0.03

Disturbance = Callable[[np.random.Generator, int], float]

DISTURBANCES: dict[str, Disturbance] = {
    "lognormal noise": lambda rng, number: 1.0,
    "bursts, 1 in 20 samples 3x slower": lambda rng, number: 3.0 if rng.random() < 0.05 else 1.0,
    "drift, 0.1% per sample": lambda rng, number: 1.0 + 1e-3 * number,
    "period of 2 samples, 10%": lambda rng, number: 1.1 if number % 2 else 1.0,
    "period of 4 samples, 10%": lambda rng, number: 1.1 if number % 4 in (1, 2) else 1.0,
}
"""Factors on a sample, by its number; lognormal noise is added to all."""


class Named(nn.Module):
    """A module that records its calls."""

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__()
        self.name = name
        self.calls = calls

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        return image

    def __deepcopy__(self, memo: object) -> Named:
        return Named(self.name, self.calls)


class SimulatedClock:
    """Milliseconds per call: 20, times the ratio for B, times noise and a disturbance."""

    def __init__(self, calls: list[str], ratio: float, disturb: Disturbance, seed: int) -> None:
        self.calls = calls
        self.base = {"a": 20.0, "b": 20.0 * ratio}
        self.disturb = disturb
        self.rng = np.random.default_rng([7, seed])
        self.number = 0

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        run()
        base, number = self.base[self.calls[-1]], self.number
        self.number += 1
        return base * self.disturb(self.rng, number) * float(self.rng.lognormal(0.0, _NOISE))


def rows(divide: int = 1) -> Iterator[Row]:
    """Coverage and bias by disturbance and true ratio; also the power, for a ratio of 1.05.

    Args:
        divide: divides the number of repetitions.
    """
    calls: list[str] = []
    a, b = Named("a", calls), Named("b", calls)
    count = max(REPETITIONS // divide, 2)
    for number, (name, ratio) in enumerate(itertools.product(DISTURBANCES, RATIOS)):
        pairs = []
        for seed in range(number * count, (number + 1) * count):
            clock = SimulatedClock(calls, ratio, DISTURBANCES[name], seed)
            pairs.append(time_pair(a, b, (1, 1, 1), samples=PAIRS, seed=seed, clock=clock))
        head = f"ratio {ratio:g}, {name}"
        yield row(f"{head}: coverage", [pair.low <= ratio <= pair.high for pair in pairs])
        yield row(f"{head}: bias of the ratio", [pair.ratio - ratio for pair in pairs])
        if ratio != 1:
            yield row(f"{head}: distinguished from 1", [pair.distinguished for pair in pairs])


if __name__ == "__main__":
    began = time.perf_counter()
    for new in rows():
        print(f"{new.value:8.4f} ± {new.error:.4f}  {new.repetitions:6,}  {new.name}", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
