"""A mixed model of noisy trainings: the expected accuracy of each design, and its uncertainty.

Notation: training i trains design d(i) with seed s(i) and reaches accuracy y_i, standardised by
median and spread. Under a draw h of the hyperparameters::

    y_i = f(d(i)) + e[s(i)] + e_i
    f(d) = m + g(d) + u[d] + b [d is the base]

    m     intercept                                       variance 1
    g     Gaussian process over r, d and sites            variance (1 - w) v, its kernel drawn in h
    u     deviation of one design from g                  variance w v
    b     offset of the base from all designs with BAM    variance _BASE, or _BASE v
    e[s]  effect of a seed that all designs share         variance c (1 - v)
    e_i   residual noise                                  variance (1 - c) (1 - v)

v, w, c and the variance of b are drawn once per h, so the prior includes that nothing matters
(v near 0) and that BAM helps wherever it is placed. All variances share a factor with an inverse
gamma prior: integrated out, the evidence of h is a multivariate t density, and f given the data is
multivariate t (Gelman et al., Bayesian Data Analysis, chapter 14). The posterior is the average
over h, weighted by evidence.

A training far below all others, such as one at chance level, would dominate the variances. It is
left out of the model, and its design is reported by the mean of its own trainings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from bamsearch.sampler.codes import Floats
from bamsearch.sampler.kernel import Kernel
from bamsearch.sampler.kernel_samples import draw_noisy_kernel_samples
from bamsearch.sampler.posterior import process_covariances, robust_sd
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible

Observation = tuple[Encoding, float, int]
"""A design, the accuracy of one training in percent, and the training's seed."""

# Prior variances of m and b, in units of the variance of one training; that of b is so large that
# the base is hardly shrunk towards the designs.
_CONSTANT, _BASE = 1.0, 1000.0
# Log-uniform range of (1 - v) / v, noise over signal: at 10,000 no design differs from another.
_NOISE = (0.003, 10_000.0)
# Largest w; range of c, which is 0.2 in the committed audit (reports/audit).
_UNIQUE, _SHARED = 0.3, (0.1, 0.7)
# Share of the draws in which the variance of b is independent of v. With a smaller share, the base
# is shrunk further towards the designs; with a larger share, or a smaller _BASE, the gain is
# overestimated where nothing matters (biases: benchmarks/coverage.md).
_BASE_APART = 0.85
_SHAPE, _RATE = 1.0, 2.0  # of the inverse gamma prior on the common factor
_LEAST = 1e-3  # evidence relative to the best draw below which a draw is dropped
_JITTER = 1e-6
_OUTLIER = 10.0
"""Spreads below the median beyond which a training is an outlier: designs of the committed audit
stay within 4, chance level is beyond 50."""

_WIDER = 1.1
"""Factor on posterior deviations. Without it, intervals with a nominal coverage of 0.95 cover 0.91,
because the variances are averaged over a coarse prior (benchmarks/coverage.md)."""


class TrainingModel:
    """The posterior over f, the expected accuracies of designs.

    Args:
        feasible: the feasible set.
        trainings: trainings, at least two.
        others: designs without a training that are predicted too.

    Attributes:
        encodings: designs: the trained ones in the order of their first training, then ``others``.
        mean: expected accuracy of each design in percent, (designs,).
        noise: standard deviation of one training about f, in points.
        shared: the part of ``noise`` that all designs share, from e[s], in points.
        outliers: indices of the trainings that the model leaves out.
    """

    def __init__(
        self, feasible: Feasible, trainings: Sequence[Observation], others: Sequence[Encoding] = ()
    ) -> None:
        values = np.array([value for _, value, _ in trainings])
        self.encodings = tuple(
            dict.fromkeys([*(encoding for encoding, _, _ in trainings), *others])
        )
        column = {encoding: index for index, encoding in enumerate(self.encodings)}
        designs = np.array([column[encoding] for encoding, _, _ in trainings])
        seeds = np.array([seed for _, _, seed in trainings])
        base = np.array(
            [float(feasible.space.inserts_nothing(encoding)) for encoding in self.encodings]
        )
        self._centre, self._spread = float(np.median(values)), robust_sd(values - np.median(values))
        self._spread = self._spread or 1.0
        scores = (values - self._centre) / self._spread
        # The base is never an outlier: b is free, so it may lie far from all designs.
        modelled = (scores > -_OUTLIER) | (base[designs] > 0)
        self.outliers = np.flatnonzero(~modelled)
        # Several BLAS threads make matrices of this size slower, not faster.
        with threadpool_limits(limits=1, user_api="blas"):
            mean = self._fit(
                Kernel(feasible), designs[modelled], seeds[modelled], scores[modelled], base
            )
        self.mean = self._centre + self._spread * mean
        self._failed: dict[int, int] = {}
        for failed in set(designs[~modelled].tolist()) - set(designs[modelled].tolist()):
            accuracies = values[designs == failed]
            self.mean[failed], self._failed[failed] = accuracies.mean(), len(accuracies)

    @property
    def best(self) -> int:
        """Index of the design with the greatest expected accuracy."""
        return int(np.argmax(self.mean))

    def draw(self, number: int, seed: int) -> Floats:
        """Joint draws of f from the posterior, in percent: (number, designs)."""
        rng = np.random.default_rng(seed)
        draws = []
        counts = rng.multinomial(number, [share for share, _, _ in self._parts])
        for count, (_, mean, root) in zip(counts, self._parts, strict=True):
            normal = rng.standard_normal((count, root.shape[1])) @ root.T
            # A multivariate t: the common factor of the variances is integrated out.
            factor = np.sqrt(self._freedom / rng.chisquare(self._freedom, count))
            draws.append(mean + _WIDER * factor[:, None] * normal)
        f: Floats = self._centre + self._spread * np.concatenate(draws)
        for failed, trainings in self._failed.items():
            deviation = self.noise / np.sqrt(trainings)
            f[:, failed] = rng.normal(self.mean[failed], deviation, number)
        return f

    def _fit(
        self, kernel: Kernel, designs: NDArray[np.int64], seeds: Floats, y: Floats, base: Floats
    ) -> Floats:
        """Weight the draws h by their evidence; returns the standardised mean of all designs.

        With K the covariance of y under h and L L' = K::

            log evidence(h) = -sum log L_ii - (_SHAPE + n / 2) log(_RATE + |L^-1 y|^2 / 2) + const
            E[f | y, h]     = F L^-T L^-1 y                    F the covariance of f with y
            Cov[f | y, h]   = scale (cov f - F L^-T L^-1 F')   scale: rate / shape of the factor
        """
        kernel_samples = draw_noisy_kernel_samples(kernel)
        uniform = np.random.default_rng(2).random((len(kernel_samples), 3))
        signal = 1 / (1 + np.exp(np.interp(uniform[:, 0], [0, 1], np.log(_NOISE))))
        apart = np.random.default_rng(3).random(len(kernel_samples)) < _BASE_APART
        unique, shared = _UNIQUE * uniform[:, 1], np.interp(uniform[:, 2], [0, 1], _SHARED)
        same_seed = np.equal.outer(seeds, seeds).astype(float)
        codes = kernel.codes(np.array(self.encodings, dtype=np.int8))
        n, eye = len(y), np.eye(len(codes))
        logs, solved = np.empty(len(kernel_samples)), []
        for h, process in enumerate(process_covariances(kernel, kernel_samples, codes)):
            f = signal[h] * ((1 - unique[h]) * process + unique[h] * eye)
            f += _CONSTANT + _BASE * (1.0 if apart[h] else signal[h]) * np.diag(base)
            noise = shared[h] * same_seed + (1 - shared[h]) * np.eye(n)
            total = f[np.ix_(designs, designs)] + (1 - signal[h]) * noise + _JITTER * np.eye(n)
            root = cholesky(total, lower=True, check_finite=False)
            half = solve_triangular(root, y, lower=True, check_finite=False)
            rate = _RATE + 0.5 * half @ half
            logs[h] = -np.log(np.diag(root)).sum() - (_SHAPE + 0.5 * n) * np.log(rate)
            solved.append((f, root, half, rate / (_SHAPE + 0.5 * n)))
        shares = np.exp(logs - logs.max())
        shares = np.where(shares < _LEAST, 0.0, shares) / shares[shares >= _LEAST].sum()
        self._freedom = 2 * _SHAPE + n
        self._parts = []
        for h in np.flatnonzero(shares).tolist():
            f, root, half, scale = solved[h]
            explained = solve_triangular(root, f[:, designs].T, lower=True, check_finite=False)
            covariance = scale * (f - explained.T @ explained) + _JITTER * eye
            draws = cholesky(covariance, lower=True, check_finite=False)
            self._parts.append((float(shares[h]), explained.T @ half, draws))
        variance = shares * (1 - signal) * [scale for *_, scale in solved]
        self.noise = self._spread * float(np.sqrt(variance.sum()))
        self.shared = self._spread * float(np.sqrt((variance * shared).sum()))
        mean: Floats = np.sum([share * mean for share, mean, _ in self._parts], axis=0)
        return mean
