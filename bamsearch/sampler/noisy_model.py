"""A Gaussian process over designs for noisy scores, from its kernel to its predictions.

Notation: x_i is the option of design x at choice i, of c choices; p, w and q are weights; primes
belong to a second design, except in phi' Q phi, a product of both feature vectors::

    S(o, o')  1 for equal options; between two BAMs exp(-(dr / l_r)^2 / 2 - (dd / l_d)^2 / 2) with
              dr, dd the differences of log2 r and log2 d; 0 else
    s(x, x')  sum_i p_i S(x_i, x'_i), the weighted similarity of the choices, 1 for equal designs
    z(x)      log of the network's parameters, standardised
    phi(x)    sums over the choices of (BAM or not, log2 r, log2 d), centred

    k(x, x') = 1 + w_1 s + w_2 exp(-l (1 - s)) + w_3 exp(-((z - z') / l_z)^2 / 2) + w_4 phi' Q phi

    y_n = f(x_n) + e_n,   f ~ GP(0, v k),   e_n ~ N(0, v t),   v ~ inverse gamma

The terms of k are: the mean of all scores, additive effects, interactions of all choices, a smooth
effect of size, and effects of r and d that are the same at all sites. Operations have no order: two
are equal or not. The hyperparameters w, p, Q, l, l_z, l_r, l_d and t (the noise) are not fitted,
because a handful of scores cannot identify them: :data:`DRAWN` draws are made from a fixed-seed
prior, and the :data:`KEPT` draws with the greatest evidence are averaged by it. With v integrated
out, the evidence is a multivariate t density (Rasmussen and Williams, Gaussian Processes for
Machine Learning, 2006, chapter 2; Gelman et al., Bayesian Data Analysis, chapter 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtri
from scipy.stats import rankdata

from bamsearch.sampler.acquire import log_expected_improvement
from bamsearch.sampler.codes import Floats, Rows, totals_of
from bamsearch.space.feasible import Feasible

DRAWN, KEPT = 128, 8

# Chosen on searches with seeds 1000 and above; benchmarks/train_rivals.py reports other seeds.
_WEIGHTS = (1.0, 1.0, 0.7, 1.0)  # relative prior means of w
_SPARSE = 0.7  # shape of the gamma draws of w: below 1, few terms hold most of the variance
# Log-uniform ranges; l_r and l_d in octaves.
_LENGTHS = {"l": (1.5, 8.0), "l_z": (0.5, 4.0), "l_r": (0.7, 6.0), "l_d": (0.7, 6.0)}
_NOISE = (0.02, 4.0)  # log-uniform range of t
_SHAPE, _JITTER = 2.0, 1e-6  # shape and rate of the inverse gamma prior; diagonal jitter
_SAMPLED = 500  # designs that z and phi are centred over


@dataclass(frozen=True)
class HyperparameterDraw:
    """A draw of the hyperparameters; see the module's docstring for the symbols.

    Attributes:
        w: weights of the four terms.
        p: weights of the choices, with sum 1.
        q: diagonal of Q.
        alike: S, (options, options).
        length: l.
        size_length: l_z.
        noise: t, the variance of the noise in units of v.
    """

    w: Floats
    p: Floats
    q: Floats
    alike: Floats
    length: float
    size_length: float
    noise: float


class Features:
    """The features of designs that the kernel compares.

    Args:
        feasible: the feasible set.
    """

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        keys = [[(o.kind, o.reduction, o.dilation) for o in c.options] for c in choices]
        self._known = sorted({key for each in keys for key in each})
        self._option = [np.array([self._known.index(key) for key in each]) for each in keys]
        self._params = [np.array([float(o.params) for o in c.options]) for c in choices]
        self._base = float(feasible.space.summary.base.params)
        self.bam = np.array([r > 0 for _, r, _ in self._known])
        logs = [np.log2([max(key[at], 1) for key in self._known]) for at in (1, 2)]
        self.log_r, self.log_d = logs
        columns = [self.bam.astype(float)]
        for log in logs:
            spread = log[self.bam].std() if self.bam.any() else 0.0
            if spread:
                columns.append(np.where(self.bam, (log - log[self.bam].mean()) / spread, 0.0))
        self._phi = np.column_stack(columns) / np.sqrt(len(choices))
        self._centre, self._z = np.zeros(len(columns)), (0.0, 1.0)
        _, z, phi = self(feasible.sample(np.random.default_rng(0), _SAMPLED))
        self._centre, self._z = phi.mean(axis=0), (float(z.mean()), float(z.std()) or 1.0)
        self.choices, self.terms = len(choices), len(columns)

    def __call__(self, rows: Rows) -> tuple[Rows, Floats, Floats]:
        """Options (n, choices), z (n,) and phi (n, terms) of rows of encodings, (n, choices)."""
        options = np.column_stack([numbers[rows[:, i]] for i, numbers in enumerate(self._option)])
        z = np.log(np.maximum(totals_of(self._params, rows) + self._base, 1.0))
        return (
            options,
            (z - self._z[0]) / self._z[1],
            self._phi[options].sum(axis=1) - self._centre,
        )

    def draws(self) -> list[HyperparameterDraw]:
        """Hyperparameters from the prior; equal calls give equal draws."""
        rng, same = np.random.default_rng(0), np.eye(len(self._known))
        kinds = np.array([kind for kind, _, _ in self._known])
        both = self.bam[:, None] & self.bam & (kinds[:, None] == kinds)
        apart = [(log[:, None] - log) ** 2 / 2 for log in (self.log_r, self.log_d)]
        draws = []
        for _ in range(DRAWN):
            w: Floats = rng.standard_gamma(_SPARSE * np.array(_WEIGHTS), size=4)
            p: Floats = rng.standard_gamma(1.0, size=self.choices)
            q: Floats = rng.standard_gamma(1.0, size=self.terms)
            at = {name: float(np.exp(rng.uniform(*np.log(r)))) for name, r in _LENGTHS.items()}
            smooth = np.exp(-apart[0] / at["l_r"] ** 2 - apart[1] / at["l_d"] ** 2)
            noise = float(np.exp(rng.uniform(*np.log(_NOISE))))
            alike = np.where(both, smooth, same)
            # Q has trace terms / 2: w_4 alone sets the variance of the shared effects.
            q *= self.terms / (2 * q.sum())
            draws.append(
                HyperparameterDraw(w / w.sum(), p / p.sum(), q, alike, at["l"], at["l_z"], noise)
            )
        return draws


Seen = tuple[Rows, Floats, Floats]


def covariance(draw: HyperparameterDraw, a: Seen, b: Seen) -> Floats:
    """Covariances k between the n designs of a and the m designs of b: (n, m)."""
    options, z, phi = a
    s = draw.alike[options[:, None, :], b[0][None]] @ draw.p
    size = np.exp(-(((z[:, None] - b[1]) / draw.size_length) ** 2) / 2)
    joint = np.exp(-draw.length * (1 - s))
    shared = (phi * draw.q) @ b[2].T
    k: Floats = 1 + draw.w[0] * s + draw.w[1] * joint + draw.w[2] * size + draw.w[3] * shared
    return k


class NoisyModel:
    """The posterior over the scores of all designs.

    Args:
        features: features of the feasible set.
        draws: draws of the hyperparameters, to be weighted by their evidence.
        rows: scored designs, (n, choices); a design may occur several times.
        scores: (n,), higher is better; only their order counts.
        pending: designs that are being scored; they count as scored at their mean.
    """

    def __init__(
        self,
        features: Features,
        draws: Sequence[HyperparameterDraw],
        rows: Rows,
        scores: Floats,
        pending: Rows | None = None,
    ) -> None:
        self._features, self._seen = features, features(rows)
        # Normal scores (van der Waerden): an outlier is no further away than the last rank.
        y = ndtri((rankdata(scores) - 0.5) / len(scores))
        logs, fits = [], []
        for draw in draws:
            root, half, rate = _fit(draw, self._seen, y)
            logs.append(-np.log(np.diag(root)).sum() - (_SHAPE + len(y) / 2) * np.log(rate))
            fits.append((draw, root, half, rate / (_SHAPE + len(y) / 2)))
        best = np.argsort(-np.array(logs), kind="stable")[:KEPT]
        shares = np.exp(np.array(logs)[best] - logs[best[0]])
        self._shares = shares / shares.sum()
        self._fits = [fits[index] for index in best]
        if pending is not None and len(pending):
            expected = self._predictions(pending)[0]
            self._seen = features(np.concatenate([rows, pending]))
            self._fits = [
                (draw, *_fit(draw, self._seen, np.concatenate([y, mean]))[:2], scale)
                for (draw, _, _, scale), mean in zip(self._fits, expected, strict=True)
            ]

    @property
    def noise(self) -> float:
        """Variance of the noise of one score."""
        return float(self._shares @ [draw.noise * scale for draw, _, _, scale in self._fits])

    def mean(self, rows: Rows) -> Floats:
        """Expected normal score of designs: (n,)."""
        mean: Floats = self._shares @ self._predictions(rows)[0]
        return mean

    def log_worth(self, rows: Rows, best: float) -> Floats:
        """The logarithm of the augmented expected improvement over ``best``: (n,).

        Huang, Allen, Notz and Zeng, Global Optimization of Stochastic Black-Box Systems (2006).

        Args:
            rows: designs, (n, choices).
            best: greatest mean of an observed design.
        """
        means, variances = self._predictions(rows)
        logs = log_expected_improvement(means, np.sqrt(variances), best)
        improvement = np.logaddexp.reduce(logs + np.log(self._shares)[:, None], axis=0)
        spread = self._shares @ (variances + (means - self._shares @ means) ** 2)
        # Near 0 where another score would hardly reduce the variance of a well-known design.
        discount = 1 - np.sqrt(self.noise / (spread + self.noise))
        worth: Floats = improvement + np.log(np.maximum(discount, 1e-12))
        return worth

    def _predictions(self, rows: Rows) -> tuple[Floats, Floats]:
        """Means and variances by draw: (kept, n) and (kept, n)."""
        new = self._features(rows)
        means, variances = [], []
        for draw, root, half, scale in self._fits:
            cross = covariance(draw, new, self._seen).T
            explained = solve_triangular(root, cross, lower=True, check_finite=False)
            prior = 1 + draw.w[:3].sum() + draw.w[3] * (new[2] ** 2 @ draw.q)
            means.append(explained.T @ half)
            variances.append(scale * np.maximum(prior - (explained**2).sum(axis=0), 1e-9))
        return np.array(means), np.array(variances)


def _fit(draw: HyperparameterDraw, seen: Seen, y: Floats) -> tuple[Floats, Floats, float]:
    """L with L L' = K + t I, L^-1 y, and the rate of v's posterior."""
    noisy = covariance(draw, seen, seen) + (draw.noise + _JITTER) * np.eye(len(y))
    root = cholesky(noisy, lower=True, check_finite=False)
    half = solve_triangular(root, y, lower=True, check_finite=False)
    return root, half, float(_SHAPE + half @ half / 2)
