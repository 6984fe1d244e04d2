"""What can be reached: a Gaussian process that is told the family of the objective.

Four families of planted.py are Gaussian processes themselves, sums of normal numbers times known
features, so that their own covariance can be given to the same rule that the default sampler has:
four designs drawn uniformly, then the greatest expected improvement among all that fit. It also
knows the noise. No sampler has that knowledge; what is left of its regret after 30 scores is there
because 30 scores say no more, at least to a sampler that looks one step ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
from numpy.typing import NDArray
from planted import Floats, Planted, Rows, places

from bamsearch.searching.acquire import log_expected_improvement
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Listed

TOLD = "told the family"
FAMILIES = ("additive", "interacting", "rough", "pair tables")

_DRAWN_FIRST = 4
# Prior variance of the mean of all scores: far above that of any effect.
_CONSTANT = 100.0
_JITTER = 1e-6
_PAIR_TABLES = 0.7**2


def trials(
    feasible: Listed, seed: int, family: str, objective: Planted, noise: float
) -> Generator[Picks, float, None]:
    """Designs to score, each sent its score.

    Args:
        feasible: the feasible set.
        seed: of the designs drawn first.
        family: of FAMILIES.
        objective: only its deviation is used, for the noise.
        noise: in standard deviations of the objective.
    """
    table = feasible.table[feasible.table.any(axis=1)]
    covariance, own = _covariance(feasible, family, table)
    of_noise = (noise * objective.deviation) ** 2 + _JITTER
    rng = np.random.default_rng([seed, 9])
    mean, variance = np.zeros(len(table)), own + _CONSTANT
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
        # One column of the Cholesky factor more: the posterior over all designs, score by score.
        column = covariance(at) + _CONSTANT
        for root in roots:
            column = column - root[at] * root
        deviation = np.sqrt(variance[at] + of_noise)
        roots.append(column / deviation)
        mean = mean + roots[-1] * (score - mean[at]) / deviation
        variance = variance - roots[-1] ** 2
        seen.append(at)
        best = max(best, score)


def _covariance(
    feasible: Listed, family: str, table: Rows
) -> tuple[Callable[[int], Floats], Floats]:
    """Covariances of one design with all, and the variance of each: planted.py's, by family."""
    if family in ("rough", "pair tables"):
        pairs = _PAIR_TABLES if family == "pair tables" else 0.0
        choices = table.shape[1]

        def of_equal(at: int) -> Floats:
            same: NDArray[np.int64] = (table == table[at]).sum(axis=1)
            found: Floats = same + pairs * same * (same - 1) / 2
            return found

        return of_equal, np.full(len(table), choices + pairs * choices * (choices - 1) / 2)
    features = _features(feasible, family, table)
    return (lambda at: features @ features[at]), (features**2).sum(axis=1)


def _features(feasible: Listed, family: str, table: Rows) -> Floats:
    """What planted.py multiplies by independent standard normal numbers, (n, features)."""
    at = [[one[table[:, i]] for one in each] for i, each in enumerate(places(feasible))]
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
