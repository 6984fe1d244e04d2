"""Paired differences over seeds: their intervals, and how many seeds a difference needs.

All intervals are Student's, of pairs with the same seed; with several comparisons each takes its
share of the error (Bonferroni), so that all hold together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

CONFIDENCE = 0.95
"""Of all intervals together."""

POWER = 0.8
"""Chance with which a difference is to be told from none."""

WANTED = 0.3
"""Points: the difference for which the number of seeds is said. BAM's are about that size."""

RUN_SD = 0.29
"""Points: how far the accuracies of one design spread over seeds. Measured over 68 short trainings
of an 8-layer ResNet on Fashion-MNIST; taken where the run itself has trained nothing yet."""

_MOST_SEEDS = 1_000_000
_QUANTILES = 4_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval.

    Attributes:
        mean: of the values.
        low: lower end.
        high: upper end.
        sd: standard deviation of the values, at least what one image makes.
    """

    mean: float
    low: float
    high: float
    sd: float

    def inside(self, margin: float) -> bool:
        """Whether all of it is nearer to 0 than the margin: two one-sided tests, both passed."""
        return -margin < self.low and self.high < margin


def level(comparisons: int) -> float:
    """Confidence of one interval, where so many are to hold together at 95 %."""
    return 1 - (1 - CONFIDENCE) / comparisons


def interval(values: Sequence[float], confidence: float, resolution: float) -> Interval:
    """Student's interval of a mean.

    Args:
        values: at least two.
        confidence: of the interval, 0..1.
        resolution: what one image of the test split makes. The deviation is taken to be no less:
            values that happen to be equal do not prove that there is no spread.

    Raises:
        ValueError: fewer than two values.
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"an interval needs two values, not {count}")
    mean = float(np.mean(values))
    sd = max(float(np.std(values, ddof=1)), resolution)
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * sd / sqrt(count)
    return Interval(mean, mean - half, mean + half, sd)


def power(difference: float, sd: float, seeds: int, confidence: float) -> float:
    """Chance that the interval of so many pairs leaves out 0.

    Args:
        difference: the true one.
        sd: standard deviation of a pair's difference.
        seeds: pairs, at least two.
        confidence: of the interval.
    """
    shift = abs(difference) / sd * sqrt(seeds)
    limit = float(stats.t.ppf((1 + confidence) / 2, seeds - 1))
    # The mean over the deviations that a sample may have. SciPy's noncentral t is the same, and is
    # no number for two seeds and far shifts.
    limits = limit * _deviations(seeds - 1)
    return float(np.mean(stats.norm.sf(limits - shift) + stats.norm.cdf(-limits - shift)))


@lru_cache(maxsize=64)
def _deviations(freedom: int) -> NDArray[np.float64]:
    """Evenly likely values of a sample's deviation where the true one is 1."""
    chances = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    found: NDArray[np.float64] = np.sqrt(stats.chi2.ppf(chances, freedom) / freedom)
    return found


def smallest_detectable(sd: float, seeds: int, comparisons: int) -> float:
    """The difference that so many pairs tell from none with a chance of 80 %.

    Args:
        sd: standard deviation of a pair's difference.
        seeds: pairs, at least two.
        comparisons: intervals that are to hold together.
    """
    confidence = level(comparisons)
    # In units of the standard error: beyond the limit and a few deviations the chance is near 1.
    limit = float(stats.t.ppf((1 + confidence) / 2, seeds - 1))
    found = brentq(lambda z: power(z, sqrt(seeds), seeds, confidence) - POWER, 0.0, 4 * limit + 4)
    return float(found) * sd / sqrt(seeds)


def seeds_needed(sd: float, comparisons: int, difference: float = WANTED) -> int | None:
    """How many pairs tell a difference from none with a chance of 80 %; None over a million.

    Args:
        sd: standard deviation of a pair's difference, above 0.
        comparisons: intervals that are to hold together.
        difference: the true one, in points.
    """
    confidence = level(comparisons)
    low, high = 1, 2
    while power(difference, sd, high, confidence) < POWER:
        low, high = high, 2 * high
        if high > _MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(difference, sd, middle, confidence) < POWER:
            low = middle
        else:
            high = middle
    return high
