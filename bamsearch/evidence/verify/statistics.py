"""Intervals of paired differences over seeds or images, and the number of seeds needed.

Student's intervals from pairs with the same seed. Their confidence is that of one look at one
comparison, see :mod:`bamsearch.evidence.verify.looks`, so that all hold simultaneously.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

CONFIDENCE = 0.95
"""Simultaneous confidence of all intervals."""

POWER = 0.8
"""Power: probability of detecting a true difference."""

TARGET_DIFFERENCE = 0.3
"""Difference in points that the number of seeds is given for; BAM's are about that size."""

RUN_SD = (0.29, 1.32)
"""Standard deviation in points of the accuracy of one training over seeds, if the run has not
measured it. The lower was measured over 68 short trainings of an 8-layer ResNet on Fashion-MNIST,
the upper by the audit of reports/audit/fashion-mnist-light (``ceilings``, setting ``space``)."""

SURE = 0.9
"""Confidence of the upper limit of the spread, and of the lower one."""

_MOST_SEEDS = 1_000_000
_QUANTILES = 4_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval.

    Attributes:
        mean: mean of the values.
        low: lower end.
        high: upper end.
        sd: standard deviation of the values, at least the resolution.
    """

    mean: float
    low: float
    high: float
    sd: float

    def inside(self, margin: float) -> bool:
        """Whether the whole interval is within the margin: two one-sided tests, both passed."""
        return -margin < self.low and self.high < margin


def interval(
    values: Sequence[float] | NDArray[np.number[Any]], confidence: float, resolution: float
) -> Interval:
    """Student's interval of a mean.

    Args:
        values: at least two values.
        confidence: confidence of the interval, 0..1.
        resolution: change caused by one image of the test split. The deviation is at least this:
            equal values may be a coincidence.

    Raises:
        ValueError: fewer than two values.
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"an interval needs two values, not {count}")
    mean = float(np.mean(values))
    sd = max(float(np.std(values, ddof=1)), resolution)
    half = _quantile(confidence, count - 1) * sd / sqrt(count)
    return Interval(mean, mean - half, mean + half, sd)


def interval_over_images(
    values: NDArray[np.number[Any]], confidence: float, resolution: float
) -> Interval:
    """Interval of a mean over seeds and images, both random and crossed.

    The seeds' part is that of :func:`interval`. The images' part is the image component of a
    two-way analysis of variance without replication, or 0 if that is negative. Half widths are
    added in quadrature (MOVER, Zou and Donner 2008, Statistics in Medicine 27), so that each part
    keeps its own degrees of freedom. ``benchmarks/coverage_verify.py`` simulates the coverage.

    Args:
        values: (pairs, images), at least two of each.
        confidence: see :func:`interval`.
        resolution: see :func:`interval`.

    Raises:
        ValueError: fewer than two pairs or images.
    """
    pairs, images = values.shape
    if images < 2:
        raise ValueError(f"an interval over images needs two images, not {images}")
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    seeds = interval(by_seed, confidence, resolution)
    image_square = pairs * by_image.var() * images / (images - 1)
    total = float(np.square(values, dtype=np.float64).mean()) - seeds.mean**2
    rest = total - float(by_seed.var()) - float(by_image.var())
    rest_square = rest * pairs * images / ((pairs - 1) * (images - 1))
    error = max(float(image_square) - rest_square, 0.0) / (pairs * images)
    limit = _quantile(confidence, images - 1)
    half = hypot(seeds.high - seeds.mean, limit * sqrt(error))
    return Interval(seeds.mean, seeds.mean - half, seeds.mean + half, seeds.sd)


@lru_cache(maxsize=1024)
def _quantile(confidence: float, freedom: int) -> float:
    """Standard errors to each side of a mean in Student's interval."""
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def sd_limits(sd: float, freedom: int, sure: float = SURE) -> tuple[float, float]:
    """Lower and upper limit of a normal standard deviation, each with confidence ``sure``.

    The limits are those of chi-square with ``freedom`` degrees of freedom, at least one.
    """
    low, high = stats.chi2.ppf([sure, 1 - sure], freedom)
    return sd * sqrt(freedom / low), sd * sqrt(freedom / high)


def power(difference: float, sd: float, seeds: int, confidence: float) -> float:
    """Probability that the interval excludes 0.

    Args:
        difference: true difference.
        sd: standard deviation of a pair's difference.
        seeds: number of pairs, at least two.
        confidence: confidence of the interval.
    """
    shift = abs(difference) / sd * sqrt(seeds)
    limit = _quantile(confidence, seeds - 1)
    # The mean over possible sample deviations. SciPy's noncentral t is the same, but is nan for two
    # seeds and large shifts.
    limits = limit * _deviations(seeds - 1)
    return float(np.mean(stats.norm.sf(limits - shift) + stats.norm.cdf(-limits - shift)))


@lru_cache(maxsize=64)
def _deviations(freedom: int) -> NDArray[np.float64]:
    """Equally likely values of a sample's standard deviation if the true one is 1."""
    chances = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    deviations: NDArray[np.float64] = np.sqrt(stats.chi2.ppf(chances, freedom) / freedom)
    return deviations


def smallest_detectable(sd: float, seeds: int, confidence: float) -> float:
    """The difference that a number of pairs detects with 80% power; arguments: :func:`power`."""
    # In standard errors: a few of them beyond the limit the power is close to 1.
    limit = _quantile(confidence, seeds - 1)
    shift = brentq(lambda z: power(z, sqrt(seeds), seeds, confidence) - POWER, 0.0, 4 * limit + 4)
    return float(shift) * sd / sqrt(seeds)


def seeds_needed(sd: float, confidence: float, difference: float = TARGET_DIFFERENCE) -> int | None:
    """The number of pairs that detects a difference with 80% power; None above a million.

    Earlier looks at the same level only add power.

    Args:
        sd: standard deviation of a pair's difference, above 0.
        confidence: confidence of the interval after the last pair.
        difference: true difference in points.
    """
    seeds = bisect_left(
        range(_MOST_SEEDS + 1), POWER, 2, key=lambda seeds: power(difference, sd, seeds, confidence)
    )
    return seeds if seeds <= _MOST_SEEDS else None
