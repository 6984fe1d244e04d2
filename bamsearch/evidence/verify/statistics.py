"""Paired differences: their intervals over seeds or over images, and the seeds that one needs.

Student's intervals, of pairs with the same seed. Their confidence is that of one look at one
comparison, see :mod:`bamsearch.evidence.verify.looks`, so that all hold together.
"""

from __future__ import annotations

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
"""Of all intervals together."""

POWER = 0.8
"""Chance with which a true difference is to be detected."""

WANTED = 0.3
"""Points: the difference for which the number of seeds is said. BAM's are about that size."""

RUN_SD = (0.29, 1.32)
"""Points: standard deviation of the accuracy of one training over seeds, where the run itself has
measured none. The lower was measured over 68 short trainings of an 8-layer ResNet on Fashion-MNIST,
the upper by the audit of reports/audit/fashion-mnist-light (``ceilings``, setting ``space``)."""

SURE = 0.9
"""Chance that the true spread is below its upper limit, and chance that it is above its lower."""

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


def interval(
    values: Sequence[float] | NDArray[np.number[Any]], confidence: float, resolution: float
) -> Interval:
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
    half = _quantile(confidence, count - 1) * sd / sqrt(count)
    return Interval(mean, mean - half, mean + half, sd)


def interval_over_images(
    values: NDArray[np.number[Any]], confidence: float, resolution: float
) -> Interval:
    """Interval of a mean over seeds and images, both of them random and crossed.

    The seeds' part is that of :func:`interval`. The images' part is the image component of a
    two-way analysis of variance without replication; 0 where that is negative. Half widths are
    added in squares (MOVER, Zou and Donner 2008, Statistics in Medicine 27), so that the few
    degrees of freedom of the seeds do not narrow the images' part, nor the images' many the seeds'
    part. ``benchmarks/coverage_verify.py`` simulates its coverage.

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
    """Lower and upper limit of a normal standard deviation, each by itself (chi-square).

    Args:
        sd: standard deviation of the sample.
        freedom: degrees of freedom, at least one.
        sure: confidence of each limit.
    """
    low, high = stats.chi2.ppf([sure, 1 - sure], freedom)
    return sd * sqrt(freedom / low), sd * sqrt(freedom / high)


def power(difference: float, sd: float, seeds: int, confidence: float) -> float:
    """Chance that the interval of so many pairs leaves out 0.

    Args:
        difference: the true one.
        sd: standard deviation of a pair's difference.
        seeds: pairs, at least two.
        confidence: of the interval.
    """
    shift = abs(difference) / sd * sqrt(seeds)
    limit = _quantile(confidence, seeds - 1)
    # The mean over the deviations that a sample may have. SciPy's noncentral t is the same, and is
    # no number for two seeds and far shifts.
    limits = limit * _deviations(seeds - 1)
    return float(np.mean(stats.norm.sf(limits - shift) + stats.norm.cdf(-limits - shift)))


@lru_cache(maxsize=64)
def _deviations(freedom: int) -> NDArray[np.float64]:
    """Evenly likely values of a sample's deviation where the true one is 1."""
    chances = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    deviations: NDArray[np.float64] = np.sqrt(stats.chi2.ppf(chances, freedom) / freedom)
    return deviations


def smallest_detectable(sd: float, seeds: int, confidence: float) -> float:
    """The difference that so many pairs detect with 80% power.

    Args:
        sd: standard deviation of a pair's difference.
        seeds: pairs, at least two.
        confidence: of the interval.
    """
    # In units of the standard error: beyond the limit and a few deviations the chance is near 1.
    limit = _quantile(confidence, seeds - 1)
    shift = brentq(lambda z: power(z, sqrt(seeds), seeds, confidence) - POWER, 0.0, 4 * limit + 4)
    return float(shift) * sd / sqrt(seeds)


def seeds_needed(sd: float, confidence: float, difference: float = WANTED) -> int | None:
    """The number of pairs that detect a difference with 80% power; None over a million.

    Earlier looks at the same level only add power.

    Args:
        sd: standard deviation of a pair's difference, above 0.
        confidence: of the interval after the last pair.
        difference: the true one, in points.
    """
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
