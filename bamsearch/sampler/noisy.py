"""The sampler for noisy scores: it may propose a design again, with another seed.

A Gaussian process over designs. Notation: x_i is the option of design x at choice i, of c choices;
p, w and q are weights; primes belong to a second design, except in phi' Q phi, a product of both
feature vectors::

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
because a handful of scores cannot identify them: :data:`DRAWS` draws are made from a fixed-seed
prior, and the :data:`KEPT` draws with the greatest evidence are averaged by it; scales and evidence
are those of :mod:`~bamsearch.sampler.posterior`.

With mu(x) and sigma^2(x) the mean and the variance of the posterior at design x, tau^2 the variance
of the noise, X the feasible set, and x* the observed design with the greatest mean, a proposal is::

    first 5 designs   a space-filling design in the most expensive quarter of X
    later             argmax over x in X of  E[max(f(x) - mu(x*), 0)]
                                             * (1 - tau / sqrt(sigma^2(x) + tau^2))

The second line is the augmented expected improvement (Huang et al. 2006). It is over the greatest
*mean*, not over the best score, which may be luck; and it is discounted where another training
would hardly reduce the variance. So a good design is trained again while its mean is uncertain, and
a design with one lucky training is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from bamsearch.records import Quantity
from bamsearch.sampler.basic_samplers import Observed, RandomSampler
from bamsearch.sampler.gp import candidates
from bamsearch.sampler.kernel import Codes, Floats, known_options
from bamsearch.sampler.posterior import Fit, Mixture, evidence_weights, fit
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed, Rows

FIRST = 5
"""Number of designs before the model proposes, baselines included."""

BAND = 0.75
"""Cost quantile from which the first designs are taken: a search under a budget looks there."""

# Sizes that bound the time per proposal: designs drawn, those compared for spacing, candidates
# drawn, best designs whose neighbours are candidates, pending designs.
_DRAWN, _SPACED, _CANDIDATES, _CONTENDERS, _PENDING = 2_000, 200, 1_500, 6, 32
# Acquisition values are rounded before ranking, so that every machine breaks ties alike.
_DECIMALS = 9

DRAWS, KEPT = 128, 8
"""Draws of the hyperparameters, and those that are averaged."""

# Chosen on searches with seeds 1000 and above; benchmarks/train_rivals.py reports other seeds.
_WEIGHTS = (1.0, 1.0, 0.7, 1.0)  # relative prior means of w
_SPARSE = 0.7  # shape of the gamma draws of w: below 1, few terms hold most of the variance
# Log-uniform ranges; l_r and l_d in octaves.
_LENGTHS = {"l": (1.5, 8.0), "l_z": (0.5, 4.0), "l_r": (0.7, 6.0), "l_d": (0.7, 6.0)}
_NOISE = (0.02, 4.0)  # log-uniform range of t
_JITTER = 1e-6
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


Seen = tuple[Codes, Floats, Floats]


class Features:
    """The features of designs that the kernel compares.

    Args:
        feasible: the feasible set.
    """

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        self._feasible = feasible
        self._known, self._indices = known_options(feasible.space)
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

    def __call__(self, rows: Rows) -> Seen:
        """Options (n, choices), z (n,) and phi (n, terms) of designs, (n, choices)."""
        options = np.column_stack([index[rows[:, i]] for i, index in enumerate(self._indices)])
        z = np.log(np.maximum(self._feasible.added(rows, "params") + self._base, 1.0))
        phi = self._phi[options].sum(axis=1) - self._centre
        return options, (z - self._z[0]) / self._z[1], phi

    def draws(self) -> list[HyperparameterDraw]:
        """Hyperparameters from the prior; equal calls give equal draws."""
        rng, same = np.random.default_rng(0), np.eye(len(self._known))
        kinds = np.array([kind for kind, _, _ in self._known])
        both = self.bam[:, None] & self.bam & (kinds[:, None] == kinds)
        apart = [(log[:, None] - log) ** 2 / 2 for log in (self.log_r, self.log_d)]
        draws = []
        for _ in range(DRAWS):
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
        fits = [_fit(draw, self._seen, y) for draw in draws]
        order, self._shares = evidence_weights([fitted.log_evidence for fitted in fits], KEPT)
        self._fits = [(draws[index], fits[index]) for index in order]
        if pending is not None and len(pending):
            means = self.predict(pending).means
            self._seen = features(np.concatenate([rows, pending]))
            # The scale is not estimated from them.
            self._fits = [
                (draw, replace(_fit(draw, self._seen, np.append(y, mean)), scale=fitted.scale))
                for (draw, fitted), mean in zip(self._fits, means, strict=True)
            ]

    @property
    def noise(self) -> float:
        """Variance of the noise of one score."""
        return float(self._shares @ [draw.noise * fitted.scale for draw, fitted in self._fits])

    def predict(self, rows: Rows) -> Mixture:
        """Predictions of f, as normal scores, at designs."""
        new = self._features(rows)
        predictions = []
        for draw, fitted in self._fits:
            prior = 1 + draw.w[:3].sum() + draw.w[3] * (new[2] ** 2 @ draw.q)
            predictions.append(fitted.predict(covariance(draw, new, self._seen).T, prior))
        means, variances = zip(*predictions, strict=True)
        return Mixture(self._shares, np.array(means), np.array(variances))

    def log_worth(self, rows: Rows, best: float) -> Floats:
        """The logarithm of the augmented expected improvement over ``best``: (n,).

        Huang, Allen, Notz and Zeng, Global Optimization of Stochastic Black-Box Systems (2006).

        Args:
            rows: designs, (n, choices).
            best: greatest mean of an observed design.
        """
        prediction = self.predict(rows)
        # Near 0 where another score would hardly reduce the variance of a well-known design.
        discount = 1 - np.sqrt(self.noise / (prediction.variance + self.noise))
        worth: Floats = prediction.log_improvement(best) + np.log(np.maximum(discount, 1e-12))
        return worth


def _fit(draw: HyperparameterDraw, seen: Seen, y: Floats) -> Fit:
    noisy = covariance(draw, seen, seen) + (draw.noise + _JITTER) * np.eye(len(y))
    return fit(noisy, y)


class NoisySampler:
    """Proposes new designs, and observed designs for another training; single-objective.

    Args:
        feasible: the feasible set.
        seed: random seed.
    """

    def __init__(self, feasible: Feasible, seed: int = 0) -> None:
        self._feasible, self._seed = feasible, seed
        self._features = Features(feasible)
        self._draws = self._features.draws()
        budgets = feasible.budgets
        self._quantity: Quantity = budgets[0].quantity if budgets else "params"
        sampled = feasible.sample(np.random.default_rng(0), _DRAWN)
        self._edge = float(np.quantile(feasible.added(sampled, self._quantity), BAND))

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """Propose the next design, which may be an observed one; never the base.

        Args:
            observed: designs and their scores in the order in which they finished; a design may
                occur several times.
            excluded: designs that must not be proposed: being scored now, or failed.

        Returns:
            The design, or None if none remains.
        """
        rng = np.random.default_rng([self._seed, len(observed), len(excluded)])
        seen = {encoding for encoding, _ in observed} | excluded
        # Several BLAS threads make matrices of this size slower, not faster.
        with threadpool_limits(limits=1, user_api="blas"):
            rows = (
                self._spaced(rng, seen)
                if len(seen) < FIRST
                else self._worth(rng, observed, excluded)
            )
            for encoding in map(tuple, rows):
                if encoding not in excluded and not self._feasible.space.inserts_nothing(encoding):
                    return encoding
        return RandomSampler(self._feasible, self._seed).suggest(observed, excluded)

    def _spaced(self, rng: np.random.Generator, seen: AbstractSet[Encoding]) -> list[list[int]]:
        """Designs in the cost band, by decreasing Hamming distance to the nearest seen design."""
        rows = self._feasible.sample(rng, _DRAWN)
        rows = rows[self._feasible.added(rows, self._quantity) >= self._edge][:_SPACED]
        # Distances are integers: uniform numbers below 1 break their ties at random.
        apart: Floats = rng.random(len(rows))
        if seen:
            earlier = np.array(sorted(seen), dtype=np.int8)
            apart += (rows[:, None] != earlier).sum(axis=2).min(axis=1)
        ordered: list[list[int]] = rows[np.argsort(-apart, kind="stable")].tolist()
        return ordered

    def _worth(
        self, rng: np.random.Generator, observed: Observed, excluded: AbstractSet[Encoding]
    ) -> Iterator[list[int]]:
        """Designs by decreasing augmented expected improvement."""
        table = np.array([encoding for encoding, _ in observed], dtype=np.int8)
        unscored = sorted(excluded - {encoding for encoding, _ in observed})[:_PENDING]
        pending = np.array(unscored, dtype=np.int8).reshape(len(unscored), table.shape[1])
        scores = np.array([score for _, score in observed])
        model = NoisyModel(self._features, self._draws, table, scores, pending)
        designs = np.unique(table, axis=0)
        expected = model.predict(designs).mean
        best = float(expected.max())
        contenders = designs[np.argsort(-expected, kind="stable")]
        contenders = contenders[self._feasible.which_fit(contenders)][:_CONTENDERS]

        def value(rows: Rows) -> Floats:
            return model.log_worth(rows, best)

        rows, values = self._candidates(rng, contenders, value)
        # Ties are broken at random: the order of the table must not favour a choice.
        order = rng.permutation(len(rows))
        order = order[np.argsort(-np.round(values[order], _DECIMALS), kind="stable")]
        return iter(rows[order].tolist())

    def _candidates(
        self, rng: np.random.Generator, contenders: Rows, value: Callable[[Rows], Floats]
    ) -> tuple[Rows, Floats]:
        """All designs of a small set; of a larger one a sample and the contenders' neighbours."""
        feasible = self._feasible
        if not isinstance(feasible, Listed):
            return candidates(feasible, rng, contenders, value)
        rows = feasible.table
        if len(rows) > 2 * _CANDIDATES:
            apart = (rows[:, None] != contenders).sum(axis=2)
            drawn = rng.choice(len(rows), _CANDIDATES, replace=False)
            rows = rows[np.union1d(np.flatnonzero((apart <= 1).any(axis=1)), drawn)]
        return rows, value(rows)
