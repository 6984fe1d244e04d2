"""Noise ceiling: the best agreement that the noise of training allows."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np

from bamsearch.evidence.audit.agreement import LEAST
from bamsearch.evidence.audit.correlation import Values
from bamsearch.records import Ceiling, Setting

_DIGITS = 4


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
