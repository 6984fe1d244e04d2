"""A bound on what samplers can reach: a Gaussian process that knows the family of the objective.

Four families of planted.py are Gaussian processes: sums of known features with normal coefficients.
This sampler uses their exact covariance and the variance of the noise, with the rule of the default
sampler: four designs drawn uniformly, then the feasible design with the greatest expected
improvement. No real sampler has that knowledge. The regret that remains after 30 scores is due to
the information in 30 scores, at least for a sampler that looks one step ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray
from planted import Floats, Planted, Rows, places

from bamsearch.sampler.posterior import log_expected_improvement
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Listed

TOLD = "told the family"
FAMILIES = ("additive", "interacting", "rough", "pair tables")

_DRAWN_FIRST = 4
# Prior variance of the mean of all scores: far above that of any effect.
_CONSTANT = 100.0
_JITTER = 1e-6
_PAIR_TABLES = 0.7**2


def trials(
    feasible: Listed, seed: int, family: str, objective: Planted, noise: float
) -> Generator[Encoding, float, None]:
    """Designs to score, each sent its score.

    Args:
        feasible: the feasible set.
        seed: seed of the first designs.
        family: one of FAMILIES.
        objective: the objective, whose deviation scales the noise.
        noise: noise of a score, in standard deviations of the objective.
    """
    table = feasible.table[feasible.table.any(axis=1)]
    covariance, prior = _covariance(feasible, family, table)
    noise_variance = (noise * objective.deviation) ** 2 + _JITTER
    rng = np.random.default_rng([seed, 9])
    mean, variance = np.zeros(len(table)), prior + _CONSTANT
    roots: list[Floats] = []
    seen: list[int] = []
    best = -np.inf
    while len(seen) < len(table):
        if len(seen) < _DRAWN_FIRST:
            at = int(rng.integers(len(table)))
        else:
            gain = log_expected_improvement(mean, np.sqrt(np.maximum(variance, 1e-12)), best)
            gain[seen] = -np.inf
            at = int(np.argmax(gain))
        score = yield tuple(table[at].tolist())
        # Extends the Cholesky factor by a column: the posterior over all designs, score by score.
        column = covariance(at) + _CONSTANT
        for root in roots:
            column = column - root[at] * root
        deviation = np.sqrt(variance[at] + noise_variance)
        roots.append(column / deviation)
        mean = mean + roots[-1] * (score - mean[at]) / deviation
        variance = variance - roots[-1] ** 2
        seen.append(at)
        best = max(best, score)


def _covariance(
    feasible: Listed, family: str, table: Rows
) -> tuple[Callable[[int], Floats], Floats]:
    """Covariances of a design with all designs, and the variance of each, as in planted.py."""
    if family in ("rough", "pair tables"):
        pairs = _PAIR_TABLES if family == "pair tables" else 0.0
        choices = table.shape[1]

        def of_equal(at: int) -> Floats:
            same: NDArray[np.int64] = (table == table[at]).sum(axis=1)
            total: Floats = same + pairs * same * (same - 1) / 2
            return total

        return of_equal, np.full(len(table), choices + pairs * choices * (choices - 1) / 2)
    features = _features(feasible, family, table)
    return (lambda at: features @ features[at]), (features**2).sum(axis=1)


def _features(feasible: Listed, family: str, table: Rows) -> Floats:
    """Features that planted.py multiplies by standard normal coefficients, (n, features)."""
    at = [[column[table[:, i]] for column in each] for i, each in enumerate(places(feasible))]
    columns = []
    for on, r, d in at:
        columns += [on, 0.5 * on * r, 0.5 * on * d]
        columns += [0.25 * on * r**2, 0.25 * on * d**2, 0.25 * on * r * d]
    if family == "interacting":
        for i in range(len(at)):
            for j in range(i):
                scales = (0.8, 0.4, 0.4)
                columns += [s * at[i][k] * at[j][k] for k, s in enumerate(scales)]
    return np.column_stack(columns)
