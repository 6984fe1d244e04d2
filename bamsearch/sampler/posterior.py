"""Gaussian processes over designs: the prior over kernels, their evidence, and the posterior.

Notation: h is a kernel sample, a covariance k_h with noise t_h (:mod:`~bamsearch.sampler.kernel`),
y the n standardised scores, v a common scale::

    y ~ N(0, v K),   K = k_h(X, X) + _CONSTANT + t_h I,   v ~ inverse gamma(a, a),  a = _SHAPE

    log p(y | h) = -log det(K) / 2 - (a + n / 2) log(a + y' K^-1 y / 2) + const
    p(h | y)     = p(y | h) / sum_h' p(y | h')
    f(x) | y, h  ~ mean k' K^-1 y, variance v_h (k(x, x) + _CONSTANT - k' K^-1 k)
    v_h          = (a + y' K^-1 y / 2) / (a + n / 2)

with k = k_h(X, x) + _CONSTANT; the constant is the prior variance of the mean of all scores. With v
integrated out, the evidence is a multivariate t density (Rasmussen and Williams, Gaussian Processes
for Machine Learning, 2006, chapter 2; Gelman et al., Bayesian Data Analysis, chapter 14).

The weights of a kernel are not fitted, because a handful of scores cannot identify twenty weights:
256 kernel samples are drawn from a prior and averaged by evidence (Hoeting et al., Bayesian Model
Averaging, 1999). They cover effects that are smooth in log2 r and log2 d or have no pattern, that
are shared between choices or not, that depend on size, and that interact; they are the same in
every search.

The acquisition is the expected improvement EI(x) over a value y*, with z = (mu - y*) / sigma, and
phi and Phi the density and the distribution function of N(0, 1)::

    EI(x)     = E[max(f(x) - y*, 0)] = sigma (phi(z) + z Phi(z))
    log EI(x) = log sigma + log phi(z) + log(1 + z Phi(z) / phi(z))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import log_ndtr, ndtri

from bamsearch.sampler.kernel import Codes, CrossCovariance, Floats, Kernel, KernelSample

_CONSTANT = 1.0
"""Prior variance of the mean of all standardised scores, in units of the scale."""

_JITTER = 1e-6
_SHAPE = 2.0
"""Shape and rate of the inverse gamma prior on the scale: its mode is 2 / 3, its mean 2, near the
variance 1 of standardised scores."""

_LEAST = 0.03
"""Evidence relative to the best kernel sample below which a sample is dropped."""

_KERNEL_SAMPLES = 256  # draws from the prior; a second set is plain if scores are noisy
# Ranges of the prior. benchmarks/sampler_regret.md has the regret with these values.
# Median variance shares of the kinds of a smooth effect, and the log-normal spread about them.
# Whether a site has BAM comes first: r and d have an effect only where it does.
_SMOOTH = {"on": 0.4, "r": 0.2, "d": 0.2, "rd": 0.1}
_SPREAD_SMOOTH, _SPREAD_LINKS = 0.7, 1.0
# Largest variance shares; each is 0 in a fifth of the draws, so that simple kernels have weight.
_SHARED, _SIZE, _INTERACTING = 0.9, 0.6, 0.8
_NONE = 0.2
_REACH = (1.0, 3.0)  # range of l
# Largest weights in the plain draws: of r and d relative to BAM or not, and of the shared effect.
_R_OR_D, _ALIKE = 1.5, 0.5
QUIET = (1e-4, 0.3)
"""Range of the noise variance for deterministic scores, relative to the variance of the scores.

It is above 0 because the kernel explains even a deterministic score only in part."""

NOISY = (0.03, 4.0)
"""Range of the noise variance for scores of one training each.

A correlation rho between two trainings of a design means a noise variance of (1 - rho) / rho: 2.2
at the 0.31 measured in the pilot of docs/decisions.md, which lies inside the range."""

_TAIL, _LOWEST = 3.0, 0.1  # where standardise begins to compress, and its limit below -3
_SAMPLES = 64  # kernel samples at once: 12 MB of covariances of 150 designs
_BLOCK = 2_048  # designs predicted at once: 8 MB per array with 500 scores
_EQUAL = 1e-14  # relative differences below this are rounding


def draw_kernel_samples(kernel: Kernel, noise: tuple[float, float] = QUIET) -> list[KernelSample]:
    """Draw from the prior, with a range of the noise variance; equal calls give equal draws."""
    links = sorted({link for _, link in kernel.components if link != "own"})
    uniform = np.random.default_rng(0).random((_KERNEL_SAMPLES, 8 + len(_SMOOTH) + len(links)))
    return [_kernel_sample(kernel, links, row, noise) for row in uniform]


def draw_noisy_kernel_samples(kernel: Kernel) -> list[KernelSample]:
    """Draw from the prior for noisy scores: half of the draws are plain.

    Plain draws have one effect of BAM per site, one of r and one of d for all sites, and nothing
    else: a few noisy trainings cannot identify more. Without them, the evidence spreads over
    kernels that the data cannot tell apart.
    """
    samples, none = draw_kernel_samples(kernel, noise=NOISY), np.zeros(len(kernel.kinds))
    shared = "all" if any(link == "all" for _, link in kernel.components) else "own"
    uniform = np.random.default_rng(1).random((_KERNEL_SAMPLES, 4))
    for r, d, alike, noise in uniform * [_R_OR_D, _R_OR_D, _ALIKE, 1.0]:
        weights = {("r", shared): r, ("d", shared): d}
        for kind in ("on", "kind"):
            weights[kind, "own"] = 1.0 - alike
            # BAM, or a kind, may also have the same effect at all sites.
            weights[kind, shared] = weights.get((kind, shared), 0.0) + alike
        w = np.array([weights.get(component, 0.0) for component in kernel.components])
        variance = float(np.exp(np.interp(noise, [0, 1], np.log(NOISY))))
        samples.append(KernelSample(w / w.sum(), none, 0.0, 0.0, _REACH[0], variance))
    return samples


def _kernel_sample(
    kernel: Kernel, links: list[str], uniform: Floats, noises: tuple[float, float]
) -> KernelSample:
    """One draw, from uniform numbers in 0..1."""
    # sin^2 of a uniform angle is Beta(1/2, 1/2): mostly near 0 or 1, so a draw is mostly one kind.
    rough, joint = np.sin(0.5 * np.pi * uniform[:2]) ** 2
    shared, sized, interacting = _share(uniform[2:5]) * [_SHARED, _SIZE, _INTERACTING]
    reach = np.interp(uniform[5], [0, 1], _REACH)
    noise = np.exp(np.interp(uniform[6], [0, 1], np.log(noises)))
    macs, normal = uniform[7], ndtri(uniform[8:])
    options = _options(kernel, rough, normal[: len(_SMOOTH)])
    by_link = np.exp(_SPREAD_LINKS * normal[len(_SMOOTH) :])
    by_link = shared * by_link / by_link.sum()
    shares = {"own": 1 - shared if links else 1.0, **dict(zip(links, by_link, strict=True))}
    additive = (1 - sized) * (1 - interacting)
    weights = {
        (kind, link): additive * option * (share if kind != "cell" else 1.0)
        for kind, option in zip(kernel.kinds, options, strict=True)
        for link, share in shares.items()
    }
    weights |= {("gflops", "own"): sized * macs, ("params", "own"): sized * (1 - macs)}
    return KernelSample(
        np.array([weights[component] for component in kernel.components]),
        options,
        pairs=float((1 - sized) * interacting * (1 - joint)),
        joint=float((1 - sized) * interacting * joint),
        reach=float(reach),
        noise=float(noise),
    )


def _options(kernel: Kernel, rough: float, normal: Floats) -> Floats:
    """Variance shares of the kinds, (kinds,), with sum 1; ``rough`` is that of ``cell``."""
    drawn = dict(zip(_SMOOTH, normal, strict=True))
    smooth = [
        _SMOOTH.get(kind, _SMOOTH["on"]) * np.exp(_SPREAD_SMOOTH * drawn.get(kind, drawn["on"]))
        for kind in kernel.kinds
        if kind != "cell"
    ]
    return np.append((1 - rough) * np.array(smooth) / sum(smooth), rough)


def _share(uniform: Floats) -> Floats:
    """Shares in 0..1, mostly small: squared, and 0 for the lowest fifth of the uniform numbers."""
    shares: Floats = (np.maximum(uniform - _NONE, 0) / (1 - _NONE)) ** 2
    return shares


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


@dataclass(frozen=True, slots=True)
class Fit:
    """The fit of a covariance K to y, with the scale v integrated out.

    Attributes:
        root: L, lower triangular with L L' = K.
        half: L^-1 y.
        scale: v_h.
        log_evidence: log p(y | h), up to a constant.
    """

    root: Floats
    half: Floats
    scale: float
    log_evidence: float

    def explained(self, cross: Floats) -> Floats:
        """L^-1 k for the covariances k with m designs: (n, m) to (n, m)."""
        solved: Floats = solve_triangular(self.root, cross, lower=True, check_finite=False)
        return solved

    def predict(self, cross: Floats, prior: Floats) -> tuple[Floats, Floats]:
        """Means and variances of f at m designs.

        Args:
            cross: covariances with the n scored designs, (n, m).
            prior: prior variances, (m,).
        """
        explained = self.explained(cross)
        # Rounding can make the difference negative at observed designs.
        remaining = np.maximum(prior - (explained**2).sum(axis=0), 1e-9)
        return explained.T @ self.half, self.scale * remaining


def fit(covariance: Floats, y: Floats, shape: float = _SHAPE, rate: float = _SHAPE) -> Fit:
    """Fit a covariance, noise included, (n, n), to values y, (n,)."""
    root = cholesky(covariance, lower=True, check_finite=False)
    half = solve_triangular(root, y, lower=True, check_finite=False)
    shape, rate = shape + 0.5 * len(y), float(rate + 0.5 * (half @ half))
    log_evidence = -np.log(np.diag(root)).sum() - shape * np.log(rate)
    return Fit(root, half, rate / shape, float(log_evidence))


def evidence_weights(
    logs: Sequence[float] | Floats, most: int | None = None, least: float = 0.0
) -> tuple[NDArray[np.intp], Floats]:
    """The likeliest hypotheses and their normalised posterior weights.

    Args:
        logs: log evidence of each hypothesis.
        most: largest number of hypotheses.
        least: evidence relative to the best below which a hypothesis is dropped.
    """
    logs = np.asarray(logs)
    order = np.argsort(-logs, kind="stable")[:most]
    shares = np.exp(logs[order] - logs[order[0]])
    order, shares = order[shares >= least], shares[shares >= least]
    return order, shares / shares.sum()


def covariances(kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes) -> Floats:
    """K of n designs under each kernel sample: (samples, n, n)."""
    covariance = kernel.covariances(kernel_samples, codes) + _CONSTANT
    noise = np.array([h.noise for h in kernel_samples]) + _JITTER
    diagonal = np.arange(len(codes))
    covariance[:, diagonal, diagonal] += noise[:, None]
    return covariance


def posterior_weights(
    kernel: Kernel, kernel_samples: Sequence[KernelSample], codes: Codes, scores: Floats, most: int
) -> list[tuple[KernelSample, float]]:
    """The kernel samples with the greatest evidence, at most ``most``, with posterior weights."""
    logs = [
        fit(covariance, scores).log_evidence
        for start in range(0, len(kernel_samples), _SAMPLES)
        for covariance in covariances(kernel, kernel_samples[start : start + _SAMPLES], codes)
    ]
    order, shares = evidence_weights(logs, most, _LEAST)
    return [(kernel_samples[i], float(share)) for i, share in zip(order, shares, strict=True)]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Predictions of f at n designs, averaged over hypotheses.

    Attributes:
        shares: posterior weights, (hypotheses,).
        means: means under each hypothesis, (hypotheses, n).
        variances: variances without noise, (hypotheses, n).
    """

    shares: Floats
    means: Floats
    variances: Floats

    @property
    def mean(self) -> Floats:
        """Means: (n,)."""
        mean: Floats = self.shares @ self.means
        return mean

    @property
    def variance(self) -> Floats:
        """Variances, within and between the hypotheses (law of total variance): (n,)."""
        variance: Floats = self.shares @ (self.variances + (self.means - self.mean) ** 2)
        return variance

    def log_improvement(self, best: float) -> Floats:
        """The logarithm of the expected improvement over a known value: (n,)."""
        logs = log_expected_improvement(self.means, np.sqrt(self.variances), best)
        improvement: Floats = np.logaddexp.reduce(logs + np.log(self.shares)[:, None], axis=0)
        return improvement


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """The logarithm of the expected improvement over a known value: (n,).

    Jones, Schonlau and Welch, Efficient Global Optimization (1998). EI underflows far below the
    best value; its logarithm still ranks designs there (Ament et al., Unexpected Improvements,
    2023).
    """
    z = (mean - best) / deviation
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    # Below z = -25, 1 + z Phi(z) / phi(z) cancels: its asymptotic expansion is 1 / z^2. Above
    # z = 25, phi(z) underflows, and EI is mu - y*.
    near = np.clip(z, -25.0, 25.0)
    gain = 1 + near * np.exp(log_ndtr(near) + 0.5 * near**2 + 0.5 * np.log(2 * np.pi))
    gain = np.where(z > -25.0, gain, 1 / np.maximum(z**2, 1.0))
    log_ei = np.log(deviation) + density + np.log(np.maximum(gain, 1e-300))
    return np.where(z < 25.0, log_ei, np.log(np.maximum(mean - best, 1e-300)))


class ModelAverage:
    """The posterior of f, averaged over kernel samples.

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
        self._posteriors = []
        for sample, _ in kernel_samples:
            cross = CrossCovariance(kernel, sample, codes)
            covariance = cross(codes) + _CONSTANT
            covariance[np.diag_indices(len(codes))] += sample.noise + _JITTER
            self._posteriors.append((cross, fit(covariance, scores)))

    def predict(self, codes: Codes) -> Mixture:
        """Predictions of f at n designs."""
        predictions = np.empty((2, len(self._posteriors), len(codes)))
        for start in range(0, len(codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            diagonals = self._kernel.diagonals(codes[block])
            for index, (cross, fitted) in enumerate(self._posteriors):
                predictions[:, index, block] = fitted.predict(
                    (cross(codes[block]) + _CONSTANT).T,
                    cross.variances(codes[block], diagonals) + _CONSTANT,
                )
        return Mixture(self._shares, *predictions)
