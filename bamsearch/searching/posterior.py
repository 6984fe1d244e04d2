"""Gaussian processes over designs, one for each hypothesis, and what they say together.

A hypothesis (:mod:`~bamsearch.searching.hypotheses`) gives the covariance up to a scale, to which
a constant is added for the mean of all scores. With an inverse gamma prior on the scale, its
evidence is a multivariate t density (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, chapter 2; Gelman et al., Bayesian Data Analysis, chapter 14). No weights are
fitted, since a few scores cannot tell a score of weights: hypotheses are averaged by evidence
(Hoeting et al., Bayesian Model Averaging, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from bamsearch.searching.acquire import log_expected_improvement
from bamsearch.searching.codes import Codes, Floats
from bamsearch.searching.hypotheses import Hypothesis
from bamsearch.searching.kernel import Kernel

_CONSTANT = 1.0
"""Prior variance of the mean of all (standardised) scores, in units of the scale."""

_JITTER = 1e-6
_SHAPE = 2.0
"""Of the inverse gamma prior on the scale, which has its mode at 2 / 3."""

_LEAST = 0.03
"""Evidence, over that of the best hypothesis, of those that still count."""

_TAIL, _LOWEST = 3.0, 0.1
_EQUAL = 1e-14


def standardise(scores: Floats) -> Floats:
    """Scores with median 0 and spread 1, far ones drawn in: their order stays.

    Beyond 3 spreads it is the logarithm that counts; below -3, nothing gets under -3.1: how bad
    a bad design is says little of the good ones.

    Args:
        scores: finite, of any scale.
    """
    centred = scores / max(np.abs(scores).max(initial=0.0), np.finfo(float).tiny)
    centred = centred - np.median(centred)
    spread = spread_of(centred)
    if spread == 0:
        return np.zeros(len(scores))
    found = centred / spread
    over = np.maximum(np.abs(found) - _TAIL, 0.0)
    drawn_in = np.where(found > 0, np.log1p(over), _LOWEST * over / (_LOWEST + over))
    standard: Floats = np.sign(found) * (np.minimum(np.abs(found), _TAIL) + drawn_in)
    return standard


def spread_of(centred: Floats) -> float:
    """A standard deviation of scores less their median, which does not see a few outliers."""
    tenth, quarter = np.quantile(centred, [0.1, 0.25], method="higher")
    upper, most = np.quantile(centred, [0.75, 0.9], method="lower")
    # Where half of the scores are nearly equal, the others count too.
    spread = max((upper - quarter) / 1.349, max(most, -tenth) / 12.8)
    if spread < _EQUAL:
        apart = np.abs(centred)[np.abs(centred) > _EQUAL]
        spread = np.quantile(apart, 0.5, method="lower") if len(apart) else 0.0
    return float(spread)


def covariances(kernel: Kernel, hypotheses: Sequence[Hypothesis], codes: Codes) -> Floats:
    """Between n designs under each hypothesis, with its noise: (hypotheses, n, n)."""
    covariance = process_covariances(kernel, hypotheses, codes) + _CONSTANT
    noise = np.array([one.noise for one in hypotheses]) + _JITTER
    diagonal = np.arange(len(codes))
    covariance[:, diagonal, diagonal] += noise[:, None]
    return covariance


def process_covariances(kernel: Kernel, hypotheses: Sequence[Hypothesis], codes: Codes) -> Floats:
    """The same without constant and noise."""
    n, choices = len(codes), kernel.choices
    own = kernel.own_grams(codes).reshape(len(kernel.kinds), choices, -1)
    total = own.sum(axis=1)
    options = np.array([one.options for one in hypotheses])
    found = np.array([one.components for one in hypotheses]) @ kernel.grams(codes).reshape(
        -1, n * n
    )
    # (sum_i B_i)^2 - sum_i B_i^2 is linear in products of two kinds.
    pairs = np.array([one.pairs for one in hypotheses]) / max(choices * (choices - 1), 1)
    for a, b in combinations_with_replacement(range(len(own)), 2):
        product = total[a] * total[b] - (own[a] * own[b]).sum(axis=0)
        weight = pairs * options[:, a] * options[:, b] * (1 if a == b else 2)
        found += weight[:, None] * product
    joint = np.array([[one.joint] for one in hypotheses])
    reach = np.array([[one.reach] for one in hypotheses])
    found += joint * np.exp(reach * (options @ total / choices - 1))
    covariance: Floats = found.reshape(-1, n, n)
    return covariance


def log_evidence(
    kernel: Kernel, hypotheses: Sequence[Hypothesis], codes: Codes, scores: Floats
) -> Floats:
    """The logarithm of the density of scores under each hypothesis, up to a constant.

    Args:
        kernel: over the feasible set.
        hypotheses: to weigh.
        codes: of the designs scored.
        scores: standardised, (n,).
    """
    found = np.empty(len(hypotheses))
    for index, covariance in enumerate(covariances(kernel, hypotheses, codes)):
        root = cholesky(covariance, lower=True, check_finite=False)
        half = solve_triangular(root, scores, lower=True, check_finite=False)
        missing = np.log(_SHAPE + 0.5 * (half @ half))
        found[index] = -np.log(np.diag(root)).sum() - (_SHAPE + 0.5 * len(scores)) * missing
    return found


def believed(
    kernel: Kernel, hypotheses: Sequence[Hypothesis], codes: Codes, scores: Floats, most: int
) -> list[tuple[Hypothesis, float]]:
    """The most likely hypotheses and their probabilities.

    Args:
        kernel: over the feasible set.
        hypotheses: to weigh.
        codes: of the designs scored.
        scores: standardised, (n,).
        most: so many are kept.
    """
    logs = log_evidence(kernel, hypotheses, codes, scores)
    order = np.argsort(-logs, kind="stable")[:most]
    shares = np.exp(logs[order] - logs[order[0]])
    kept = shares >= _LEAST
    shares = shares[kept] / shares[kept].sum()
    return [(hypotheses[i], float(share)) for i, share in zip(order[kept], shares, strict=True)]


class Posterior:
    """What a hypothesis says of any design after some were scored.

    Args:
        kernel: over the feasible set.
        hypothesis: the covariance.
        codes: of the designs scored.
        scores: standardised, (n,).
    """

    def __init__(
        self, kernel: Kernel, hypothesis: Hypothesis, codes: Codes, scores: Floats
    ) -> None:
        self._kernel, self._hypothesis, self._codes = kernel, hypothesis, codes
        self._pairs = hypothesis.pairs / max(kernel.choices * (kernel.choices - 1), 1)
        self._tables = kernel.tables(codes, hypothesis.components)
        self._own = kernel.own_tables(codes, hypothesis.options)
        covariance = self._with_seen(codes)
        covariance[np.diag_indices(len(codes))] += hypothesis.noise + _JITTER
        self._root: Floats = cholesky(covariance, lower=True, check_finite=False)
        half = solve_triangular(self._root, scores, lower=True, check_finite=False)
        self._solved: Floats = solve_triangular(
            self._root, half, lower=True, trans="T", check_finite=False
        )
        self._scale = (_SHAPE + 0.5 * (half @ half)) / (_SHAPE + 0.5 * len(scores))

    def predict(self, codes: Codes, diagonals: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation, without noise, of each design: (n,) and (n,).

        Args:
            codes: of n designs.
            diagonals: of the kernel's components between them and themselves.
        """
        covariance = self._with_seen(codes)
        mean: Floats = covariance @ self._solved
        explained = solve_triangular(self._root, covariance.T, lower=True, check_finite=False)
        own = self._kernel.own_diagonals(codes, self._hypothesis.options)
        variance = self._hypothesis.components @ diagonals + _CONSTANT
        variance += self._interactions(own.sum(axis=1), (own**2).sum(axis=1))
        left = np.maximum(variance - (explained**2).sum(axis=0), 1e-9)
        return mean, np.sqrt(self._scale * left)

    def _with_seen(self, codes: Codes) -> Floats:
        found = _looked_up(self._tables, codes)
        found += _CONSTANT
        if self._hypothesis.pairs or self._hypothesis.joint:
            squares = [table**2 for table in self._own]
            found += self._interactions(_looked_up(self._own, codes), _looked_up(squares, codes))
        return found

    def _interactions(self, total: Floats, squares: Floats) -> Floats:
        """Of the sum over choices of B_i, and of that of its squares."""
        joint, reach = self._hypothesis.joint, self._hypothesis.reach
        found: Floats = self._pairs * (total**2 - squares)
        return found + joint * np.exp(reach * (total / self._kernel.choices - 1))


def _looked_up(tables: Sequence[Floats], codes: Codes) -> Floats:
    """The sum of rows of tables, each at its column of codes."""
    found: Floats = tables[0][codes[:, 0]]
    for column, table in enumerate(tables[1:], start=1):
        found += table[codes[:, column]]
    return found


class Mixture:
    """What several hypotheses say together, each as much as it is believed.

    Args:
        kernel: over the feasible set.
        hypotheses: and their probabilities.
        codes: of the designs scored.
        scores: standardised, (n,).
    """

    def __init__(
        self,
        kernel: Kernel,
        hypotheses: Sequence[tuple[Hypothesis, float]],
        codes: Codes,
        scores: Floats,
    ) -> None:
        self._kernel = kernel
        self._shares = np.array([share for _, share in hypotheses])
        self._each = [Posterior(kernel, one, codes, scores) for one, _ in hypotheses]

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation, without noise, of each design: (n,) and (n,)."""
        means, deviations = self._predictions(codes)
        mean: Floats = self._shares @ means
        variance = self._shares @ (deviations**2 + (means - mean) ** 2)
        return mean, np.sqrt(variance)

    def log_improvement(self, codes: Codes, best: float) -> Floats:
        """The logarithm of the expected improvement over a known value: (n,)."""
        means, deviations = self._predictions(codes)
        logs = log_expected_improvement(means, deviations, best)
        found: Floats = np.logaddexp.reduce(logs + np.log(self._shares)[:, None], axis=0)
        return found

    def _predictions(self, codes: Codes) -> tuple[Floats, Floats]:
        """Means and deviations under each hypothesis: (hypotheses, n) and (hypotheses, n)."""
        diagonals = self._kernel.diagonals(codes)
        both = np.array([one.predict(codes, diagonals) for one in self._each])
        return both[:, 0], both[:, 1]
