"""How far scores order designs as training does: correlations, and intervals over designs.

Designs are resampled, with replacement, and everything is worked out anew from each sample
(percentile bootstrap). All scores of a setting see the same samples, so that their differences are
paired. A sample is kept as counts: how often each design is in it. Two copies of a design tie in
both orders, and so count for nothing in Kendall's tau-b, as they would in the sample written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Agreement, Measure, Setting

Values = NDArray[np.float64]
Counts = NDArray[np.float64]
"""(samples, designs): how often each design is in each sample."""

Correlation = Callable[[Values, Values, Counts], Values]

RESAMPLES = 10_000
LEAST = 4
"""Designs: fewer have no correlation that is worth a number."""

CONFIDENCE = 0.95

_MOST_UNDEFINED = 0.1
_TINY = 1e-12
_DIGITS = 4


@dataclass(frozen=True)
class Comparison:
    """What a score says, and what it is held against; correlations are means over several.

    Attributes:
        score: its name.
        pairs: (what it says, what training says) of all designs; nan where it says nothing.
    """

    score: str
    pairs: tuple[tuple[Values, Values], ...]


def resamples(designs: int, seed: int, number: int = RESAMPLES) -> Counts:
    """Samples of so many designs out of them, with replacement, as counts.

    Args:
        designs: how many there are.
        seed: of the draw.
        number: of samples.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(designs, np.full(designs, 1 / designs), size=number).astype(np.float64)


def tau_b(x: Values, y: Values, counts: Counts) -> Values:
    """Kendall's tau-b in each sample; nan where all in it tie.

    Args:
        x: (designs,).
        y: (designs,).
        counts: see :data:`Counts`.
    """
    one, other = (np.sign(v[:, None] - v[None, :]) for v in (x, y))

    def pairs(of: Values) -> Values:
        found: Values = ((counts @ of) * counts).sum(axis=1)
        return found

    return _ratio(pairs(one * other), pairs(one * one) * pairs(other * other))


def spearman(x: Values, y: Values, counts: Counts) -> Values:
    """Spearman's rho in each sample; nan where all in it tie. Arguments as of :func:`tau_b`."""
    ranks = [_centred(_ranks(v, counts), counts) for v in (x, y)]

    def products(one: Values, other: Values) -> Values:
        found: Values = (counts * one * other).sum(axis=1)
        return found

    squares = products(ranks[0], ranks[0]) * products(ranks[1], ranks[1])
    return _ratio(products(*ranks), squares)


MEASURES: dict[Measure, Correlation] = {"tau": tau_b, "rho": spearman}


def partial(xy: Values, xz: Values, yz: Values) -> Values:
    """The correlation of x and y with z held fixed, of theirs; nan where z decides x or y.

    Of Spearman's rho it is the correlation of what is left of the ranks after a linear fit on those
    of z; for tau it is Kendall's definition.
    """
    left = (1 - xz**2) * (1 - yz**2)
    return np.where(left > _TINY, _ratio(xy - xz * yz, left), np.nan)


def agreements(
    comparisons: Sequence[Comparison],
    size: Values,
    setting: Setting,
    seed: int,
    number: int = RESAMPLES,
) -> list[Agreement]:
    """All scores over the designs of a setting.

    Args:
        comparisons: of the scores.
        size: (designs,), parameters; what is held fixed in the setting ``size``, and the score that
            others are compared with elsewhere.
        setting: which it is; the values are of its designs.
        seed: of the bootstrap.
        number: of its samples.

    Returns:
        Correlations with an interval each; differences to ``params`` with intervals that hold
        together (Bonferroni over the scores that are compared with it).
    """
    rivals = max(sum(one.score != "params" for one in comparisons), 1)
    together = 1 - (1 - CONFIDENCE) / rivals
    counts = np.ones((0, len(size)))
    if len(size) >= LEAST:
        counts = resamples(len(size), seed, number)
    return [
        _agreement(one, size, setting, measure, counts, together)
        for one in comparisons
        for measure in MEASURES
    ]


def _agreement(
    one: Comparison,
    size: Values,
    setting: Setting,
    measure: Measure,
    counts: Counts,
    together: float,
) -> Agreement:
    known = np.all([np.isfinite(x) & np.isfinite(y) for x, y in one.pairs], axis=0)
    designs = int(known.sum())
    reason = _why_none(one, known, size, setting)
    if reason:
        return Agreement(one.score, setting, measure, designs, reason=reason)
    pairs = [(x[known], y[known]) for x, y in one.pairs]
    fixed = size[known] if setting == "size" else None
    # The first sample is all designs, once each.
    counts = np.concatenate([np.ones((1, designs)), counts[:, known]])
    values = _mean(pairs, fixed, MEASURES[measure], counts)
    if not np.isfinite(values[0]):
        reason = "the size decides it" if setting == "size" else "all designs tie"
        return Agreement(one.score, setting, measure, designs, reason=reason)
    value, low, high = _interval(values)
    more: tuple[float | None, float | None, float | None] = (None, None, None)
    if setting != "size" and one.score != "params":
        sizes = [(size[known], y) for _, y in pairs]
        difference = values - _mean(sizes, None, MEASURES[measure], counts)
        more = _interval(difference, together) if np.isfinite(difference[0]) else more
    reason = "" if low is not None else "too many resamples tie"
    return Agreement(
        one.score, setting, measure, designs, value, low, high, more[0], more[1], more[2], reason
    )


def _why_none(one: Comparison, known: NDArray[np.bool_], size: Values, setting: Setting) -> str:
    if setting == "size" and one.score == "params":
        return "it is the size itself"
    if known.sum() < LEAST:
        return f"fewer than {LEAST} designs"
    if any(np.ptp(x[known]) == 0 for x, _ in one.pairs):
        return "it is the same for all designs"
    if any(np.ptp(y[known]) == 0 for _, y in one.pairs):
        return "all designs reach the same accuracy"
    if setting == "size" and np.ptp(size[known]) == 0:
        return "all designs have the same size"
    return ""


def _mean(
    pairs: Sequence[tuple[Values, Values]],
    fixed: Values | None,
    correlation: Correlation,
    counts: Counts,
) -> Values:
    """The mean over pairs in each sample, (samples,), with something held fixed or not."""
    found = []
    for x, y in pairs:
        xy = correlation(x, y, counts)
        if fixed is not None:
            xy = partial(xy, correlation(x, fixed, counts), correlation(y, fixed, counts))
        found.append(xy)
    mean: Values = np.mean(found, axis=0)
    return mean


def _interval(
    values: Values, confidence: float = CONFIDENCE
) -> tuple[float, float | None, float | None]:
    """The first value, and the percentiles of the others that are numbers."""
    value, others = float(values[0]), values[1:]
    finite = others[np.isfinite(others)]
    if not len(finite) or len(finite) < (1 - _MOST_UNDEFINED) * len(others):
        return round(value, _DIGITS), None, None
    half = (1 - confidence) / 2
    low, high = np.quantile(finite, [half, 1 - half])
    return round(value, _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS)


def _ranks(x: Values, counts: Counts) -> Values:
    """Mean ranks, (samples, designs): of each design among the copies in the sample."""
    below = counts @ (x[:, None] < x[None, :]).astype(np.float64)
    equal = counts @ (x[:, None] == x[None, :]).astype(np.float64)
    ranks: Values = below + (equal + 1) / 2
    return ranks


def _centred(ranks: Values, counts: Counts) -> Values:
    # A sample can have none of the designs that a score has a value for.
    mean = (counts * ranks).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    centred: Values = ranks - mean[:, None]
    return centred


def _ratio(products: Values, squares: Values) -> Values:
    """``products / sqrt(squares)``; nan where that is 0 over 0."""
    there = squares > 0
    root = np.sqrt(np.where(there, squares, 1.0))
    return np.where(there, products / root, np.nan)
