"""Analysis of a search's trainings: effects, the ranking of designs, and the gain over the base.

The ranking is that of a mixed model: a design borrows strength from similar ones, so one lucky
training does not rank it first. Joint posterior draws of all designs give the intervals and each
design's probability of being the best.

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
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky
from threadpoolctl import threadpool_limits

from bamsearch.records import AccuracyEstimate, Gain, Insertion, RunRecord, TrainingAnalysis, Trial
from bamsearch.sampler.effects import effects
from bamsearch.sampler.kernel import Floats, Kernel
from bamsearch.sampler.posterior import (
    draw_noisy_kernel_samples,
    evidence_weights,
    fit,
    robust_sd,
)
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.space.feasible import Feasible

CONFIDENCE = 0.95

FEWEST = 4
"""Number of trainings before anything is reported."""

_DRAWS = 4_000
# Untrained designs that may be the best, for the expected regret: more than the sets of 4 sites.
_OTHERS = 64


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


def analyse_trainings(record: RunRecord, feasible: Feasible) -> TrainingAnalysis | None:
    """Analyse the trainings of a run; None with fewer than four.

    Args:
        record: run with score ``train``.
        feasible: the feasible set.
    """
    space, trainings = feasible.space, trainings_of(record)
    observed = observed_of(space, trainings)
    if len(observed) < FEWEST:
        return None
    model = TrainingModel(feasible, observed)
    draws = model.draw(_DRAWS, record.run.seed)
    chances = np.bincount(draws.argmax(axis=1), minlength=len(model.encodings)) / len(draws)
    # The model does not know that accuracies end at 100%.
    low, high = np.clip(_interval(draws), 0.0, 100.0)
    ranking = [
        AccuracyEstimate(
            space.insertions(encoding),
            mean=round(float(model.mean[column]), 4),
            low=round(float(low[column]), 4),
            high=round(float(high[column]), 4),
            trainings=sum(design == encoding for design, _, _ in observed),
            chance=round(float(chances[column]), 4),
        )
        for column, encoding in enumerate(model.encodings)
    ]
    regret = None
    if record.run.until is not None:
        expected = expected_regret(feasible, observed, record.run.seed)
        regret = round(expected, 4) if isfinite(expected) else None
    failed = [observed[index] for index in model.outliers]
    # A predicted final accuracy is not a measurement, so stopped trainings have no part in effects.
    ended = [
        (insertions, value)
        for insertions, value, seed in trainings_of(record, ended=True)
        if (space.encoding(insertions), value, seed) not in failed
    ]
    return TrainingAnalysis(
        trainings=len(trainings),
        noise=round(model.noise, 4),
        shared=round(model.shared, 4),
        confidence=CONFIDENCE,
        effects=effects(record.run.summary.sites, ended),
        ranking=tuple(sorted(ranking, key=lambda estimate: -estimate.mean)),
        gain=_gain(model, draws, space.encoding(())),
        remarks=_remarks(failed, regret),
        regret=regret,
    )


def expected_regret(feasible: Feasible, trainings: Sequence[Observation], seed: int) -> float:
    """The expected regret of stopping now, in points of accuracy; infinite below four trainings.

    With f the accuracies of the trained designs and of 64 designs drawn uniformly, and x* the
    trained design with the greatest mean, it is E[max_x f(x) - f(x*)] over joint posterior draws.
    Further seeds of the base are left out: they are trained after the search has stopped, and must
    not restart it.

    Args:
        feasible: the feasible set.
        trainings: trainings of the search.
        seed: random seed of the draws.
    """
    first = [t for t in trainings if not (feasible.space.inserts_nothing(t[0]) and t[2])]
    if len(first) < FEWEST:
        return inf
    untrained = feasible.sample(np.random.default_rng(seed), _OTHERS).tolist()
    model = TrainingModel(feasible, first, [tuple(row) for row in untrained])
    draws = model.draw(_DRAWS, seed)
    trained = len({encoding for encoding, _, _ in first})
    recommended = int(np.argmax(model.mean[:trained]))
    return float((draws.max(axis=1) - draws[:, recommended]).mean())


def observed_of(
    space: SearchSpace, trainings: Sequence[tuple[tuple[Insertion, ...], float, int]]
) -> list[Observation]:
    """The trainings of designs in the space, with their encodings."""
    return [
        (encoding, value, seed)
        for insertions, value, seed in trainings
        if (encoding := space.encoding(insertions)) is not None
    ]


def _interval(draws: Floats) -> Floats:
    """Ends of the central interval over draws, the first axis: (2, …)."""
    ends: Floats = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return ends


def _gain(model: TrainingModel, draws: Floats, base: tuple[int, ...] | None) -> Gain | None:
    """The gain of the best design over the base; None if the base was not trained, or is the best.

    Draws are joint and the model has seed effects, so trainings with one seed count as pairs.
    """
    if base not in model.encodings or model.encodings[model.best] == base:
        return None
    column = model.encodings.index(base)
    low, high = _interval(draws[:, model.best] - draws[:, column])
    points = model.mean[model.best] - model.mean[column]
    return Gain(*(round(float(value), 4) for value in (points, low, high)))


def _remarks(failed: Sequence[Observation], regret: float | None) -> tuple[str, ...]:
    remarks = []
    if failed:
        values = ", ".join(f"{value:.2f}" for _, value, _ in failed)
        remarks.append(
            f"Far below all other trainings, so used for their own designs only: {values}%."
        )
    if regret is not None:
        remarks.append(f"Expected regret of stopping here: {regret:.2f} points.")
    return tuple(remarks)


def trainings_of(
    record: RunRecord, *, ended: bool = False
) -> list[tuple[tuple[Insertion, ...], float, int]]:
    """Insertions, accuracy and seed of each training of a run; stopped ones with the prediction.

    Baselines come first. A baseline that is also a trial is one training.

    Args:
        record: the run.
        ended: leave out trainings that were stopped early.
    """
    values: dict[tuple[tuple[Insertion, ...], int], float] = {}
    trials: list[Trial] = [*(trial for _, trial in record.baselines), *record.trials]
    for trial in trials:
        value = trial.expected if trial.score is None and not ended else trial.score
        if value is not None:
            values.setdefault((trial.design.insertions, trial.seed or 0), value)
    return [(insertions, value, seed) for (insertions, seed), value in values.items()]


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
        """Weight the draws h by their evidence; returns the standardised mean of all designs."""
        kernel_samples = draw_noisy_kernel_samples(kernel)
        uniform = np.random.default_rng(2).random((len(kernel_samples), 3))
        signal = 1 / (1 + np.exp(np.interp(uniform[:, 0], [0, 1], np.log(_NOISE))))
        apart = np.random.default_rng(3).random(len(kernel_samples)) < _BASE_APART
        unique, shared = _UNIQUE * uniform[:, 1], np.interp(uniform[:, 2], [0, 1], _SHARED)
        same_seed = np.equal.outer(seeds, seeds).astype(float)
        codes = kernel.codes(np.array(self.encodings, dtype=np.int8))
        n, eye = len(y), np.eye(len(codes))
        fits = []
        for h, process in enumerate(kernel.covariances(kernel_samples, codes)):
            f = signal[h] * ((1 - unique[h]) * process + unique[h] * eye)
            f += _CONSTANT + _BASE * (1.0 if apart[h] else signal[h]) * np.diag(base)
            seeded = shared[h] * same_seed + (1 - shared[h]) * np.eye(n)
            total = f[np.ix_(designs, designs)] + (1 - signal[h]) * seeded + _JITTER * np.eye(n)
            fits.append((f, fit(total, y, _SHAPE, _RATE)))
        order, shares = evidence_weights([fitted.log_evidence for _, fitted in fits], least=_LEAST)
        self._freedom = 2 * _SHAPE + n
        self._parts, noise = [], np.zeros(2)
        for h, share in sorted(zip(order.tolist(), shares.tolist(), strict=True)):
            f, fitted = fits[h]
            explained = fitted.explained(f[:, designs].T)
            covariance = fitted.scale * (f - explained.T @ explained) + _JITTER * eye
            draws = cholesky(covariance, lower=True, check_finite=False)
            self._parts.append((share, explained.T @ fitted.half, draws))
            noise += share * (1 - signal[h]) * fitted.scale * np.array([1.0, shared[h]])
        self.noise, self.shared = (self._spread * np.sqrt(noise)).tolist()
        mean: Floats = np.sum([share * mean for share, mean, _ in self._parts], axis=0)
        return mean
