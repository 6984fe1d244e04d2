"""A Gaussian process over designs: its weights by marginal likelihood, then mean and deviation.

With A the weighted sum of the components of :mod:`~bamsearch.searching.kernel`, the covariance of
two designs is A + p2 A∘A + p3 A∘A∘A and a constant: effects of choices, of pairs and of triples.
Weights, p2, p3 and the noise are those most likely given the scores and a log-normal prior on each
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from bamsearch.searching.kernel import Codes, Floats, Kernel

_CONSTANT = 1.0
"""Prior variance of the mean of all (standardised) scores."""

_JITTER = 1e-6
_STEPS = 30
# Medians, and standard deviations of the logarithm.
_PAIRS, _TRIPLES, _NOISE = 0.2, 0.05, 1e-2
_SPREAD, _SPREAD_NOISE = 1.0, 2.0
_TAIL, _LOWEST = 3.0, 2.0
_EQUAL = 1e-14


@dataclass(frozen=True, slots=True)
class Weights:
    """What the process is made of.

    Attributes:
        components: a weight for each component of the kernel.
        pairs: p2.
        triples: p3.
        noise: its variance.
    """

    components: Floats
    pairs: float
    triples: float
    noise: float


def standardise(scores: Floats) -> Floats:
    """Scores with median 0 and spread 1, far ones drawn in: their order stays.

    Beyond 3 spreads it is the logarithm that counts; below -3, nothing gets under -5: how bad a
    bad design is says little of the good ones.

    Args:
        scores: finite, of any scale.
    """
    centred = scores / max(np.abs(scores).max(initial=0.0), np.finfo(float).tiny)
    centred = centred - np.median(centred)
    spread = _spread(centred)
    if spread == 0:
        return np.zeros(len(scores))
    found = centred / spread
    over = np.maximum(np.abs(found) - _TAIL, 0.0)
    drawn_in = np.where(found > 0, np.log1p(over), _LOWEST * over / (_LOWEST + over))
    standard: Floats = np.sign(found) * (np.minimum(np.abs(found), _TAIL) + drawn_in)
    return standard


def _spread(centred: Floats) -> float:
    """A standard deviation that does not see a few outliers, even of four scores."""
    tenth, quarter = np.quantile(centred, [0.1, 0.25], method="higher")
    upper, most = np.quantile(centred, [0.75, 0.9], method="lower")
    # Where half of the scores are nearly equal, the others count too.
    spread = max((upper - quarter) / 1.349, max(most, -tenth) / 12.8)
    if spread < _EQUAL:
        apart = np.abs(centred)[np.abs(centred) > _EQUAL]
        spread = np.quantile(apart, 0.5, method="lower") if len(apart) else 0.0
    return float(spread)


def prior_weights(kernel: Kernel) -> Weights:
    """The weights before anything is seen."""
    priors = np.array([component.prior for component in kernel.components])
    return Weights(priors, _PAIRS, _TRIPLES, _NOISE)


def likely_weights(kernel: Kernel, codes: Codes, scores: Floats) -> Weights:
    """The most likely weights.

    Args:
        kernel: over the feasible set.
        codes: of the designs scored.
        scores: standardised.
    """
    prior = prior_weights(kernel)
    centre = np.log([*prior.components, prior.pairs, prior.triples, prior.noise])
    spreads = np.full(len(centre), _SPREAD)
    spreads[-1] = _SPREAD_NOISE
    found = minimize(
        unlikeliness,
        centre,
        (kernel.grams(codes), scores, centre, spreads),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(centre - 3 * spreads, centre + 3 * spreads, strict=True)),
        options={"maxiter": _STEPS},
    )
    *components, pairs, triples, noise = np.exp(found.x)
    return Weights(np.array(components), pairs, triples, noise)


def unlikeliness(
    logs: Floats, grams: Floats, scores: Floats, centre: Floats, spreads: Floats
) -> tuple[float, Floats]:
    """Minus the logarithm of likelihood times prior, up to a constant, and its gradient.

    Args:
        logs: of the components' weights, p2, p3 and the noise: (m + 3,).
        grams: of the components, (m, n, n).
        scores: standardised, (n,).
        centre: of the prior of logs.
        spreads: its standard deviations.
    """
    *components, pairs, triples, noise = np.exp(logs)
    flat = grams.reshape(len(grams), -1)
    gram = (np.array(components) @ flat).reshape(grams.shape[1:])
    squared = gram * gram
    covariance = gram + pairs * squared + triples * squared * gram + _CONSTANT
    covariance[np.diag_indices(len(scores))] += noise + _JITTER
    factor = cho_factor(covariance, lower=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(scores)), check_finite=False)
    solved = inverse @ scores
    away = (logs - centre) / spreads
    value = 0.5 * (scores @ solved) + np.log(np.diag(factor[0])).sum() + 0.5 * (away @ away)
    slope = 0.5 * (inverse - np.outer(solved, solved))
    by_gram = slope * (1 + 2 * pairs * gram + 3 * triples * squared)
    others = [
        pairs * np.sum(slope * squared),
        triples * np.sum(slope * squared * gram),
        noise * np.trace(slope),
    ]
    gradient = np.concatenate([components * (flat @ by_gram.ravel()), others])
    return float(value), gradient + away / spreads


class Posterior:
    """What is believed of any design after some were scored.

    Args:
        kernel: over the feasible set.
        weights: of the process.
        codes: of the designs scored.
        scores: standardised, (n,).
    """

    def __init__(self, kernel: Kernel, weights: Weights, codes: Codes, scores: Floats) -> None:
        self._kernel, self._weights = kernel, weights
        self._tables = kernel.tables(codes, weights.components)
        covariance = self._with_seen(codes)
        covariance[np.diag_indices(len(codes))] += weights.noise + _JITTER
        self._root: Floats = cholesky(covariance, lower=True, check_finite=False)
        half = solve_triangular(self._root, scores, lower=True, check_finite=False)
        self._solved: Floats = solve_triangular(
            self._root, half, lower=True, trans="T", check_finite=False
        )

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation, without noise, of each design: (n,) and (n,)."""
        covariance = self._with_seen(codes)
        mean: Floats = covariance @ self._solved
        explained = solve_triangular(self._root, covariance.T, lower=True, check_finite=False)
        gram = self._kernel.diagonal(codes, self._weights.components)
        variance = self._powers(gram) - (explained**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def _with_seen(self, codes: Codes) -> Floats:
        gram: NDArray[np.float64] = self._tables[0][codes[:, 0]]
        for column, table in enumerate(self._tables[1:], start=1):
            gram += table[codes[:, column]]
        return self._powers(gram)

    def _powers(self, gram: Floats) -> Floats:
        pairs, triples = self._weights.pairs, self._weights.triples
        return gram * (1 + gram * (pairs + gram * triples)) + _CONSTANT
