"""Gaussian processes over designs, one per kernel sample, and their model average.

Notation: h is a kernel sample with covariance k_h and noise t_h
(:mod:`~bamsearch.sampler.kernel_samples`), y the n standardised scores, v a common scale::

    y ~ N(0, v K),   K = k_h(X, X) + _CONSTANT + t_h I,   v ~ inverse gamma(a, a),  a = _SHAPE

    log p(y | h) = -log det(K) / 2 - (a + n / 2) log(a + y' K^-1 y / 2) + const
    p(h | y)     = p(y | h) / sum_h' p(y | h')
    f(x) | y, h  ~ mean k' K^-1 y, variance v_h (k(x, x) + _CONSTANT - k' K^-1 k)
    v_h          = (a + y' K^-1 y / 2) / (a + n / 2)

with k = k_h(X, x) + _CONSTANT; the constant is the prior variance of the mean of all scores. With v
integrated out, the evidence is a multivariate t density (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, chapter 2; Gelman et al., Bayesian Data Analysis, chapter 14).

The weights of a kernel are not fitted, because a handful of scores cannot identify twenty weights:
kernel samples are averaged by evidence (Hoeting et al., Bayesian Model Averaging, 1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations_with_replacement

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from bamsearch.sampler.acquire import log_expected_improvement
from bamsearch.sampler.codes import Codes, Floats
from bamsearch.sampler.kernel import Kernel
from bamsearch.sampler.kernel_samples import KernelSample

_CONSTANT = 1.0
"""Prior variance of the mean of all standardised scores, in units of the scale."""

_JITTER = 1e-6
_SHAPE = 2.0
"""Shape and rate of the inverse gamma prior on the scale: its mode is 2 / 3, its mean 2, near the
variance 1 of standardised scores."""

_LEAST = 0.03
"""Evidence relative to the best kernel sample below which a sample is dropped."""

_TAIL, _LOWEST = 3.0, 0.1  # where standardise begins to compress, and its limit below -3
_SAMPLES = 64  # kernel samples at once: 12 MB of covariances of 150 designs
_BLOCK = 2_048  # designs predicted at once: 8 MB per array with 500 scores
_EQUAL = 1e-14  # relative differences below this are rounding


def standardise(scores: Floats) -> Floats:
    """Scores with median 0, spread 1 and compressed tails; their order is preserved.

    Above 3, the excess e becomes log(1 + e); below -3, it becomes 0.1 e / (0.1 + e), so no score is
    below -3.1: how bad a bad design is says little about the good ones.

    Args:
        scores: finite scores of any scale, (n,).
    """
    centred = scores / max(np.abs(scores).max(initial=0.0), np.finfo(float).tiny)
    centred = centred - np.median(centred)
    spread = robust_sd(centred)
    if spread == 0:
        return np.zeros(len(scores))
    scaled = centred / spread
    excess = np.maximum(np.abs(scaled) - _TAIL, 0.0)
    compressed = np.where(scaled > 0, np.log1p(excess), _LOWEST * excess / (_LOWEST + excess))
    standard: Floats = np.sign(scaled) * (np.minimum(np.abs(scaled), _TAIL) + compressed)
    return standard


def robust_sd(centred: Floats) -> float:
    """A robust standard deviation of scores less their median."""
    tenth, quarter = np.quantile(centred, [0.1, 0.25], method="higher")
    upper, most = np.quantile(centred, [0.75, 0.9], method="lower")
    # The interquartile range of N(0, 1) is 1.349 and its 0.9 quantile 1.28. Where half of the
    # scores are nearly equal, the deciles count, but only to a tenth.
    spread = max((upper - quarter) / 1.349, max(most, -tenth) / 12.8)
    if spread < _EQUAL:
        apart = np.abs(centred)[np.abs(centred) > _EQUAL]
        spread = np.quantile(apart, 0.5, method="lower") if len(apart) else 0.0
    return float(spread)


def covariances(kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes) -> Floats:
    """K of n designs under each kernel sample, with constant and noise: (samples, n, n)."""
    covariance = process_covariances(kernel, kernel_samples, codes) + _CONSTANT
    noise = np.array([h.noise for h in kernel_samples]) + _JITTER
    diagonal = np.arange(len(codes))
    covariance[:, diagonal, diagonal] += noise[:, None]
    return covariance


def process_covariances(
    kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes
) -> Floats:
    """k_h of n designs under each kernel sample, without constant and noise: (samples, n, n)."""
    n, choices = len(codes), kernel.choices
    by_choice = kernel.own_grams(codes).reshape(len(kernel.kinds), choices, -1)
    total = by_choice.sum(axis=1)
    options = np.array([h.options for h in kernel_samples])
    flat = np.array([h.components for h in kernel_samples]) @ kernel.grams(codes).reshape(-1, n * n)
    # 2 sum_{i<j} B_i B_j = (sum_i B_i)^2 - sum_i B_i^2, and B_i is linear in the kinds: the sum
    # over pairs of kinds serves all samples at once.
    pairs = np.array([h.pairs for h in kernel_samples]) / max(choices * (choices - 1), 1)
    for a, b in combinations_with_replacement(range(len(by_choice)), 2):
        product = total[a] * total[b] - (by_choice[a] * by_choice[b]).sum(axis=0)
        weight = pairs * options[:, a] * options[:, b] * (1 if a == b else 2)
        flat += weight[:, None] * product
    joint = np.array([[h.joint] for h in kernel_samples])
    reach = np.array([[h.reach] for h in kernel_samples])
    flat += joint * np.exp(reach * (options @ total / choices - 1))
    covariance: Floats = flat.reshape(-1, n, n)
    return covariance


def log_evidence(
    kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes, scores: Floats
) -> Floats:
    """The log evidence log p(y | h) of each kernel sample, up to a constant: (samples,).

    Args:
        kernel: kernel over the feasible set.
        kernel_samples: kernel samples.
        codes: codes of the scored designs.
        scores: y, (n,).
    """
    logs = np.empty(len(kernel_samples))
    for index, covariance in enumerate(
        chain.from_iterable(
            covariances(kernel, kernel_samples[start : start + _SAMPLES], codes)
            for start in range(0, len(kernel_samples), _SAMPLES)
        )
    ):
        root = cholesky(covariance, lower=True, check_finite=False)
        half = solve_triangular(root, scores, lower=True, check_finite=False)
        log_rate = np.log(_SHAPE + 0.5 * (half @ half))
        logs[index] = -np.log(np.diag(root)).sum() - (_SHAPE + 0.5 * len(scores)) * log_rate
    return logs


def posterior_weights(
    kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes, scores: Floats, most: int
) -> list[tuple[KernelSample, float]]:
    """The kernel samples with the greatest evidence, and their normalised posterior weights.

    Args:
        kernel: kernel over the feasible set.
        kernel_samples: kernel samples.
        codes: codes of the scored designs.
        scores: y, (n,).
        most: largest number of samples returned.
    """
    logs = log_evidence(kernel, kernel_samples, codes, scores)
    order = np.argsort(-logs, kind="stable")[:most]
    shares = np.exp(logs[order] - logs[order[0]])
    likely = shares >= _LEAST
    shares = shares[likely] / shares[likely].sum()
    return [
        (kernel_samples[i], float(share)) for i, share in zip(order[likely], shares, strict=True)
    ]


class Posterior:
    """The posterior of f under one kernel sample.

    Args:
        kernel: kernel over the feasible set.
        kernel_sample: kernel sample.
        codes: codes of the scored designs.
        scores: y, (n,).
    """

    def __init__(
        self, kernel: Kernel, kernel_sample: KernelSample, codes: Codes, scores: Floats
    ) -> None:
        self._kernel, self._kernel_sample, self._codes = kernel, kernel_sample, codes
        self._pairs = kernel_sample.pairs / max(kernel.choices * (kernel.choices - 1), 1)
        self._tables = kernel.tables(codes, kernel_sample.components)
        self._by_choice = kernel.own_tables(codes, kernel_sample.options)
        covariance = self._with_seen(codes)
        covariance[np.diag_indices(len(codes))] += kernel_sample.noise + _JITTER
        self._root: Floats = cholesky(covariance, lower=True, check_finite=False)
        half = solve_triangular(self._root, scores, lower=True, check_finite=False)
        self._solved: Floats = solve_triangular(
            self._root, half, lower=True, trans="T", check_finite=False
        )
        self._scale = (_SHAPE + 0.5 * (half @ half)) / (_SHAPE + 0.5 * len(scores))

    def predict(self, codes: Codes, diagonals: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of f at n designs, without noise: (n,) and (n,).

        Args:
            codes: codes of the designs.
            diagonals: prior variances of the components there, from :meth:`Kernel.diagonals`.
        """
        covariance = self._with_seen(codes)
        mean: Floats = covariance @ self._solved
        explained = solve_triangular(self._root, covariance.T, lower=True, check_finite=False)
        by_choice = self._kernel.own_diagonals(codes, self._kernel_sample.options)
        variance = self._kernel_sample.components @ diagonals + _CONSTANT
        variance += self._interactions(by_choice.sum(axis=1), (by_choice**2).sum(axis=1))
        # Rounding can make the difference negative at observed designs.
        remaining = np.maximum(variance - (explained**2).sum(axis=0), 1e-9)
        return mean, np.sqrt(self._scale * remaining)

    def _with_seen(self, codes: Codes) -> Floats:
        """Prior covariances of m designs with the n scored ones: (m, n)."""
        covariance = _looked_up(self._tables, codes)
        covariance += _CONSTANT
        if self._kernel_sample.pairs or self._kernel_sample.joint:
            squares = [table**2 for table in self._by_choice]
            covariance += self._interactions(
                _looked_up(self._by_choice, codes), _looked_up(squares, codes)
            )
        return covariance

    def _interactions(self, total: Floats, squares: Floats) -> Floats:
        """The interaction terms of k, from sum_i B_i and sum_i B_i^2."""
        joint, reach = self._kernel_sample.joint, self._kernel_sample.reach
        pairs: Floats = self._pairs * (total**2 - squares)
        return pairs + joint * np.exp(reach * (total / self._kernel.choices - 1))


def _looked_up(tables: Sequence[Floats], codes: Codes) -> Floats:
    """The sum over columns of each table's rows at the column's codes."""
    total: Floats = tables[0][codes[:, 0]]
    for column, table in enumerate(tables[1:], start=1):
        total += table[codes[:, column]]
    return total


class ModelAverage:
    """The model average: a mixture of posteriors, weighted by p(h | y).

    Args:
        kernel: kernel over the feasible set.
        kernel_samples: kernel samples and their posterior weights.
        codes: codes of the scored designs.
        scores: y, (n,).
    """

    def __init__(
        self,
        kernel: Kernel,
        kernel_samples: Sequence[tuple[KernelSample, float]],
        codes: Codes,
        scores: Floats,
    ) -> None:
        self._kernel = kernel
        self._shares = np.array([share for _, share in kernel_samples])
        self._each = [Posterior(kernel, h, codes, scores) for h, _ in kernel_samples]

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation of f at n designs, without noise: (n,) and (n,)."""
        means, deviations = self._predictions(codes)
        mean: Floats = self._shares @ means
        # The law of total variance: within and between the kernel samples.
        variance = self._shares @ (deviations**2 + (means - mean) ** 2)
        return mean, np.sqrt(variance)

    def log_improvement(self, codes: Codes, best: float) -> Floats:
        """The logarithm of the expected improvement over a known value: (n,)."""
        means, deviations = self._predictions(codes)
        logs = log_expected_improvement(means, deviations, best)
        improvement: Floats = np.logaddexp.reduce(logs + np.log(self._shares)[:, None], axis=0)
        return improvement

    def _predictions(self, codes: Codes) -> tuple[Floats, Floats]:
        """Means and deviations under each kernel sample: (samples, n) and (samples, n)."""
        predictions = np.empty((len(self._each), 2, len(codes)))
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK]
            diagonals = self._kernel.diagonals(block)
            for index, posterior in enumerate(self._each):
                predictions[index, :, start : start + _BLOCK] = posterior.predict(block, diagonals)
        return predictions[:, 0], predictions[:, 1]
