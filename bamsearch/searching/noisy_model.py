"""A Gaussian process over designs for noisy scores, from its kernel to its predictions.

Notation: x_i is the option of design x at choice i, of c choices; p, w and q are weights. ::

    S(o, o')  1 for equal options; between two BAMs exp(-(dr / l_r)^2 / 2 - (dd / l_d)^2 / 2) with
              dr, dd the differences of log2 r and log2 d; 0 else
    s(x, x')  sum_i p_i S(x_i, x'_i), the share of the choices that are alike
    z(x)      log of the network's parameters, standardised
    phi(x)    sums over the choices of (BAM or not, log2 r, log2 d), centred

    k(x, x') = 1 + w_1 s + w_2 exp(-l (1 - s)) + w_3 exp(-((z - z') / l_z)^2 / 2) + w_4 phi' Q phi

In words: effects add up, or interact; size matters smoothly; r and d may have one effect at all
sites. Kinds have no order: two are alike or not. Which of this holds, how fast it falls off, which
choices matter and how large the noise is, is drawn :data:`DRAWN` times, the same each time; the
draws with the greatest evidence are averaged by it. With an inverse gamma prior on a common factor
the evidence is a multivariate t density (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, chapter 2; Gelman et al., Bayesian Data Analysis, chapter 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtri
from scipy.stats import rankdata

from bamsearch.searching.acquire import log_expected_improvement
from bamsearch.searching.codes import Floats, Rows, total
from bamsearch.searching.feasible import Feasible

DRAWN, KEPT = 128, 8

# Chosen on searches whose seeds no benchmark reports: seeds 1000 and above.
_WEIGHTS = (1.0, 1.0, 0.7, 1.0)
_SPARSE = 0.7  # shape of the gamma draws of w: below 1, few terms hold most of it
_LENGTHS = {"l": (1.5, 8.0), "l_z": (0.5, 4.0), "l_r": (0.7, 6.0), "l_d": (0.7, 6.0)}
_NOISE = (0.02, 4.0)
_SHAPE, _JITTER = 2.0, 1e-6
_SAMPLED = 500


@dataclass(frozen=True)
class Draw:
    """One kernel and its noise.

    Attributes:
        w: weights of the four terms.
        p: weights of the choices, with sum 1.
        q: diagonal of Q.
        alike: S, (options, options).
        length: l.
        size_length: l_z.
        noise: variance of the noise, in units of the scale.
    """

    w: Floats
    p: Floats
    q: Floats
    alike: Floats
    length: float
    size_length: float
    noise: float


class Features:
    """What the kernel sees of designs.

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
        """Options (n, choices), z (n,) and phi (n, terms) of rows of picks, (n, choices)."""
        options = np.column_stack([known[rows[:, i]] for i, known in enumerate(self._option)])
        z = np.log(np.maximum(total(self._params, rows) + self._base, 1.0))
        return (
            options,
            (z - self._z[0]) / self._z[1],
            self._phi[options].sum(axis=1) - self._centre,
        )

    def draws(self) -> list[Draw]:
        """Kernels from the prior, the same each time."""
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
            q *= self.terms / (2 * q.sum())
            draws.append(Draw(w / w.sum(), p / p.sum(), q, alike, at["l"], at["l_z"], noise))
        return draws


Seen = tuple[Rows, Floats, Floats]


def covariance(draw: Draw, a: Seen, b: Seen) -> Floats:
    """K between designs: (n, m)."""
    options, z, phi = a
    s = draw.alike[options[:, None, :], b[0][None]] @ draw.p
    size = np.exp(-(((z[:, None] - b[1]) / draw.size_length) ** 2) / 2)
    joint = np.exp(-draw.length * (1 - s))
    shared = (phi * draw.q) @ b[2].T
    k: Floats = 1 + draw.w[0] * s + draw.w[1] * joint + draw.w[2] * size + draw.w[3] * shared
    return k


class NoisyModel:
    """What scores say of all designs.

    Args:
        features: of the feasible set.
        draws: kernels to weigh.
        rows: designs scored, (n, choices); one may be there often.
        scores: (n,), higher is better; only their order counts.
        pending: designs that are being scored: taken to score what is expected of them.
    """

    def __init__(
        self,
        features: Features,
        draws: Sequence[Draw],
        rows: Rows,
        scores: Floats,
        pending: Rows | None = None,
    ) -> None:
        self._features, self._seen = features, features(rows)
        # Normal scores: one failure, or one lucky training, is no further than the last rank.
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
        found: Floats = self._shares @ self._predictions(rows)[0]
        return found

    def log_worth(self, rows: Rows, best: float) -> Floats:
        """The logarithm of the augmented expected improvement over an expectation: (n,).

        Huang, Allen, Notz and Zeng, Global Optimization of Stochastic Black-Box Systems (2006).
        """
        means, variances = self._predictions(rows)
        logs = log_expected_improvement(means, np.sqrt(variances), best)
        improvement = np.logaddexp.reduce(logs + np.log(self._shares)[:, None], axis=0)
        spread = self._shares @ (variances + (means - self._shares @ means) ** 2)
        # What one more score leaves unknown: nothing new of a design that is known already.
        share = 1 - np.sqrt(self.noise / (spread + self.noise))
        found: Floats = improvement + np.log(np.maximum(share, 1e-12))
        return found

    def _predictions(self, rows: Rows) -> tuple[Floats, Floats]:
        """Means and variances by draw: (kept, n) and (kept, n)."""
        new = self._features(rows)
        means, variances = [], []
        for draw, root, half, scale in self._fits:
            known = covariance(draw, new, self._seen).T
            explained = solve_triangular(root, known, lower=True, check_finite=False)
            prior = 1 + draw.w[:3].sum() + draw.w[3] * (new[2] ** 2 @ draw.q)
            means.append(explained.T @ half)
            variances.append(scale * np.maximum(prior - (explained**2).sum(axis=0), 1e-9))
        return np.array(means), np.array(variances)


def _fit(draw: Draw, seen: Seen, y: Floats) -> tuple[Floats, Floats, float]:
    """Cholesky factor, solved scores, and the rate of the scale's posterior."""
    noisy = covariance(draw, seen, seen) + (draw.noise + _JITTER) * np.eye(len(y))
    root = cholesky(noisy, lower=True, check_finite=False)
    half = solve_triangular(root, y, lower=True, check_finite=False)
    return root, half, float(_SHAPE + half @ half / 2)
