"""Looks at the test split: their times and levels, and the rule that decides a comparison.

The pairs of a comparison come in groups, with a look after each group. All looks at a comparison
have the same nominal level (Pocock 1977, Biometrika 64), so that their intervals hold
simultaneously whatever the stopping rule: repeated confidence intervals (Jennison and Turnbull
2000, Group Sequential Methods, chapter 9). Comparisons share the error evenly (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bamsearch.evidence.verify.statistics import (
    CONFIDENCE,
    Interval,
    interval,
    interval_over_images,
)
from bamsearch.records import Expected, Over

FEWEST_PAIRS = 3
"""Pairs at the first look: the interval of two is about 40 standard errors wide to each side."""

_DRAWS = 1_000_000
_DIGITS = 5


def look_sizes(seeds: int, looks: int) -> tuple[int, ...]:
    """Pairs at each look, evenly spaced; fewer looks than requested if seeds are few."""
    first = min(max(FEWEST_PAIRS, seeds / looks), seeds) if looks > 1 else seeds
    return tuple(sorted({floor(size + 0.5) for size in np.linspace(first, seeds, looks)} | {seeds}))


@lru_cache(maxsize=64)
def nominal_level(sizes: tuple[int, ...], comparisons: int) -> float:
    """Two-sided level of each interval for simultaneous coverage of 95%.

    It is the quantile of the smallest p-value over the looks under the null hypothesis. The t
    statistics at the looks do not depend on the variance, so that normal random numbers give it for
    any sample size; Pocock's tables are the limit of large samples. The quantile is taken two Monte
    Carlo errors lower, so that the overall level is at most the stated one (0.0496 for 0.05).

    Args:
        sizes: pairs at each look.
        comparisons: comparisons that share the error evenly.
    """
    error = (1 - CONFIDENCE) / comparisons
    if len(sizes) == 1:
        return error
    rng = np.random.default_rng(0)
    mean, squares, smallest = np.zeros(_DRAWS), np.zeros(_DRAWS), np.ones(_DRAWS)
    before = 0
    for size in sizes:
        # Chan's update of the mean and the sum of squares with the new pairs.
        new = size - before
        shift = rng.standard_normal(_DRAWS) / np.sqrt(new) - mean
        squares += shift**2 * before * new / size
        if new > 1:
            squares += rng.chisquare(new - 1, _DRAWS)
        mean += shift * new / size
        before = size
        t = np.abs(mean) * np.sqrt(size * (size - 1) / squares)
        far = t > special.stdtrit(size - 1, 1 - error / 2)
        smallest[far] = np.minimum(smallest[far], 2 * special.stdtr(size - 1, -t[far]))
    low = error - 2 * np.sqrt(error * (1 - error) / _DRAWS)
    return round(float(np.quantile(smallest, low)), _DIGITS)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a comparison is concluded.

    Attributes:
        level: nominal level of each interval, from :func:`nominal_level`.
        margin: differences inside it are equivalent, in points.
        over: variation covered by the interval.
        expect: expectation that can also decide the comparison; for the base only.
    """

    level: float
    margin: float
    over: Over = "seeds"
    expect: Expected | None = None

    def interval(self, values: NDArray[np.number[Any]], resolution: float) -> Interval:
        """The interval of differences, in points.

        Args:
            values: (pairs,), or (pairs, images), as needed for ``over`` images.
            resolution: points per image.
        """
        if self.over == "images":
            return interval_over_images(values, 1 - self.level, resolution)
        by_seed = values.mean(axis=1) if values.ndim == 2 else values
        return interval(by_seed, 1 - self.level, resolution)

    def decides(self, bounds: Interval) -> bool:
        """Whether the interval excludes 0, lies inside the margin, or meets the expectation."""
        if bounds.low > 0 or bounds.high < 0 or bounds.inside(self.margin):
            return True
        return self.expect is not None and meets(bounds.low, self.expect, self.margin)


def meets(low: float, expect: Expected, margin: float) -> bool:
    """Whether the lower end of an interval in points meets an expectation."""
    return low > (0.0 if expect == "better" else -margin)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A comparison as of its last look.

    Attributes:
        interval: interval of the difference, in points.
        pairs: number of pairs.
        look: number of the look, from 1.
        decided: whether no further look is needed.
    """

    interval: Interval
    pairs: int
    look: int
    decided: bool


def conclude(
    values: NDArray[np.number[Any]],
    sizes: Sequence[int],
    rule: Rule,
    *,
    resolution: float = 0.0,
    rows: Sequence[int] | None = None,
) -> Conclusion | None:
    """Evaluate one comparison look by look until it is decided or there are no more looks.

    Args:
        values: differences in points, (pairs,) or (pairs, images), in the order of the seeds.
        sizes: planned pairs at each look so far.
        rule: decision rule.
        resolution: points per image.
        rows: seed number of each pair, from 0, if diverged trainings left gaps.

    Returns:
        The conclusion; None if no look has two pairs.
    """
    numbers = np.arange(len(values)) if rows is None else np.asarray(rows)
    last = None
    for look, size in enumerate(sizes, start=1):
        pairs = int((numbers < size).sum())
        if pairs < 2:
            continue
        bounds = rule.interval(values[:pairs], resolution)
        last = Conclusion(bounds, pairs, look, rule.decides(bounds))
        if last.decided:
            break
    return last
