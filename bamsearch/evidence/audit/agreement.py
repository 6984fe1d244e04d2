"""Agreement of scores with training: rank correlations, their intervals and the noise ceiling.

Intervals are percentile bootstrap intervals over designs. A score that depends on a seed has
several draws: its value is the mean rank over them, and each bootstrap sample resamples the draws
too, independently of the designs. All scores of a setting see the same samples, so that their
differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt

import numpy as np

from bamsearch.evidence.audit.correlation import (
    Correlation,
    Counts,
    Values,
    averaged_ranks,
    partial,
    spearman,
    tau_b,
)
from bamsearch.records import Agreement, Ceiling, Measure, Setting

RESAMPLES = 10_000
LEAST = 4
"""Fewest designs for a correlation."""

CONFIDENCE = 0.95

MEASURES: dict[Measure, Correlation] = {"tau": tau_b, "rho": spearman}

_MOST_UNDEFINED = 0.1
_DIGITS = 4

Pairs = Sequence[tuple[Values, Values]]


@dataclass(frozen=True)
class Comparison:
    """A score and the accuracies it is compared with; correlations are means over the pairs.

    Attributes:
        score: name of the score.
        pairs: (scores, accuracies) of all designs; nan for a missing value. Scores are (designs,),
            or (draws, designs) with several draws; accuracies are (designs,).
    """

    score: str
    pairs: tuple[tuple[Values, Values], ...]


def resamples(designs: int, seed: int, number: int = RESAMPLES) -> Counts:
    """Bootstrap samples of designs as counts, (samples, designs)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(designs, np.full(designs, 1 / designs), size=number).astype(np.float64)


def draw_resamples(draws: int, seed: int, number: int = RESAMPLES) -> Counts:
    """Bootstrap samples of a score's draws, (samples, draws), independent of :func:`resamples`."""
    rng = np.random.default_rng([seed, draws])
    return rng.multinomial(draws, np.full(draws, 1 / draws), size=number).astype(np.float64)


def agreements(
    comparisons: Sequence[Comparison],
    size: Values,
    setting: Setting,
    seed: int,
    number: int = RESAMPLES,
) -> list[Agreement]:
    """Agreements of all scores over the designs of a setting.

    Args:
        comparisons: the scores and their accuracies.
        size: (designs,) parameters; held fixed in the setting ``size``, and the score that others
            are compared with in the other settings.
        setting: setting of the designs.
        seed: seed of the bootstrap.
        number: number of bootstrap samples.

    Returns:
        Correlations with one interval each; differences to ``params`` with simultaneous intervals
        (Bonferroni over the scores that are compared with it).
    """
    rivals = max(sum(comparison.score != "params" for comparison in comparisons), 1)
    together = 1 - (1 - CONFIDENCE) / rivals
    few = len(size) < LEAST
    counts = np.ones((0, len(size))) if few else resamples(len(size), seed, number)
    results: list[Agreement] = []
    for comparison in comparisons:
        draws = _draws(comparison)
        resampled = draw_resamples(draws, seed, len(counts))
        results += _of_score(comparison, size, setting, counts, resampled, together)
    return results


def _draws(comparison: Comparison) -> int:
    return max(len(np.atleast_2d(x)) for x, _ in comparison.pairs)


def _of_score(
    comparison: Comparison,
    size: Values,
    setting: Setting,
    counts: Counts,
    resampled: Counts,
    together: float,
) -> list[Agreement]:
    complete = np.all(
        [np.isfinite(np.atleast_2d(x)).all(axis=0) & np.isfinite(y) for x, y in comparison.pairs],
        axis=0,
    )
    designs, draws = int(complete.sum()), resampled.shape[1]
    pairs = [(np.atleast_2d(x)[:, complete], y[complete]) for x, y in comparison.pairs]
    size = size[complete]
    nothing = [
        Agreement(comparison.score, setting, measure, designs, draws=draws) for measure in MEASURES
    ]
    reason = _why_none(comparison.score, pairs, size, setting)
    if reason:
        return [replace(none, reason=reason) for none in nothing]
    # The first sample has all designs and all draws once.
    counts = np.concatenate([np.ones((1, designs)), counts[:, complete]])
    weights = np.concatenate([np.ones((1, draws)), resampled])
    averaged = [(x[0] if len(x) == 1 else averaged_ranks(x, counts, weights), y) for x, y in pairs]
    return [
        _draw_spread(_agreement(none, averaged, size, counts, together), pairs, size)
        for none in nothing
    ]


def _agreement(
    none: Agreement, pairs: Pairs, size: Values, counts: Counts, together: float
) -> Agreement:
    """The correlation, its interval and the difference to ``params``."""
    correlation = MEASURES[none.measure]
    fixed = size if none.setting == "size" else None
    values = _mean(pairs, fixed, correlation, counts)
    if not np.isfinite(values[0]):
        reason = "the size decides it" if none.setting == "size" else "all designs tie"
        return replace(none, reason=reason)
    value, low, high = _interval(values)
    more: tuple[float | None, float | None, float | None] = (None, None, None)
    if none.setting != "size" and none.score != "params":
        sizes = [(size, y) for _, y in pairs]
        difference = values - _mean(sizes, None, correlation, counts)
        more = _interval(difference, together) if np.isfinite(difference[0]) else more
    return replace(
        none,
        value=value,
        low=low,
        high=high,
        more=more[0],
        more_low=more[1],
        more_high=more[2],
        reason="" if low is not None else "too many resamples tie",
    )


def _draw_spread(agreement: Agreement, pairs: Pairs, size: Values) -> Agreement:
    """Add the mean correlation of one draw and its standard deviation over draws."""
    if agreement.draws == 1 or agreement.value is None:
        return agreement
    fixed = size if agreement.setting == "size" else None
    once = np.ones((1, len(size)))
    each = [
        _mean([(x[draw], y) for x, y in pairs], fixed, MEASURES[agreement.measure], once)[0]
        for draw in range(agreement.draws)
    ]
    each = [value for value in each if np.isfinite(value)]
    if len(each) < 2:
        return agreement
    mean, spread = float(np.mean(each)), float(np.std(each, ddof=1))
    return replace(agreement, one_draw=round(mean, _DIGITS), draw_sd=round(spread, _DIGITS))


def _why_none(score: str, pairs: Pairs, size: Values, setting: Setting) -> str:
    if setting == "size" and score == "params":
        return "it is the size itself"
    if len(size) < LEAST:
        return f"fewer than {LEAST} designs"
    if any(np.ptp(x, axis=-1).max() == 0 for x, _ in pairs):
        return "it is the same for all designs"
    if any(np.ptp(y) == 0 for _, y in pairs):
        return "all designs reach the same accuracy"
    if setting == "size" and np.ptp(size) == 0:
        return "all designs have the same size"
    return ""


def _mean(
    pairs: Pairs,
    fixed: Values | None,
    correlation: Correlation,
    counts: Counts,
) -> Values:
    """The mean correlation over pairs in each sample, (samples,); partial if ``fixed`` is given."""
    correlations = []
    for x, y in pairs:
        xy = correlation(x, y, counts)
        if fixed is not None:
            xy = partial(xy, correlation(x, fixed, counts), correlation(y, fixed, counts))
        correlations.append(xy)
    mean: Values = np.mean(correlations, axis=0)
    return mean


def _interval(
    values: Values, confidence: float = CONFIDENCE
) -> tuple[float, float | None, float | None]:
    """The first value, and the percentiles of the others that are finite."""
    value, resampled = float(values[0]), values[1:]
    finite = resampled[np.isfinite(resampled)]
    if not len(finite) or len(finite) < (1 - _MOST_UNDEFINED) * len(resampled):
        return round(value, _DIGITS), None, None
    half = (1 - confidence) / 2
    low, high = np.quantile(finite, [half, 1 - half])
    return round(value, _DIGITS), round(float(low), _DIGITS), round(float(high), _DIGITS)


def ceiling(accuracies: Values, setting: Setting) -> Ceiling | None:
    """Spread of trainings and designs, and the reliability of the mean over seeds.

    With r the correlation between two seeds, the mean of S seeds has reliability
    S r / (1 + (S - 1) r) (Spearman and Brown 1910): the square of its correlation with the mean of
    infinitely many seeds, and so the square of the correlation expected of a perfect score.

    Args:
        accuracies: (designs, seeds), in percent, none missing.
        setting: setting of the designs.

    Returns:
        None with fewer than four designs, or with one seed.
    """
    designs, seeds = accuracies.shape
    if designs < LEAST or seeds < 2:
        return None
    within = accuracies.var(axis=1, ddof=1).mean()
    # A shift that a seed gives all designs changes neither their order nor paired differences.
    centred = accuracies - accuracies.mean(axis=0)
    rest = centred - centred.mean(axis=1, keepdims=True)
    paired = (rest**2).sum() / ((designs - 1) * (seeds - 1))
    between = max(float(accuracies.mean(axis=1).var(ddof=1) - paired / seeds), 0.0)
    pearson = _pearson(accuracies)
    reliability = highest = None
    if pearson is not None:
        above = max(pearson, 0.0)
        reliability = round(seeds * above / (1 + (seeds - 1) * above), _DIGITS)
        highest = round(sqrt(reliability), _DIGITS)
    return Ceiling(
        setting,
        designs,
        run_sd=round(sqrt(within), _DIGITS),
        paired_sd=round(sqrt(paired), _DIGITS),
        design_sd=round(sqrt(between), _DIGITS),
        pearson=None if pearson is None else round(pearson, _DIGITS),
        reliability=reliability,
        highest=highest,
    )


def _pearson(accuracies: Values) -> float | None:
    """Mean correlation between two seeds; None if all designs are equal for one seed."""
    if np.any(np.ptp(accuracies, axis=0) == 0):
        return None
    table = np.atleast_2d(np.corrcoef(accuracies.T))
    pairs = combinations(range(accuracies.shape[1]), 2)
    return float(np.mean([table[first, second] for first, second in pairs]))
