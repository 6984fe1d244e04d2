"""The default sampler: Gaussian processes over the feasible designs.

Notation: D = {(x_n, y_n)} are the observed designs and their standardised scores
(:func:`~bamsearch.sampler.posterior.standardise`), y* is the best of them, X the feasible set,
and h a kernel drawn from the prior (:mod:`~bamsearch.sampler.kernel_samples`). A proposal takes
three steps::

    1. p(h | D)           posterior weights of the drawn kernels; the best 2 to 8 are kept
    2. f(x) | D           their mixture of Gaussian processes, pending designs set to their mean
    3. argmax over x in X of   log sum_h p(h | D) E[max(f(x) - y*, 0) | D, h]

With several objectives, step 3 maximises the augmented Chebyshev scalarisation of the score's upper
confidence bound and the exact costs, for weights drawn for each proposal.

A proposal is a function of the feasible set, the seed, and the observed and excluded designs alone,
so an interrupted search continues as if it had not been interrupted. State kept between proposals
is a cache.

Up to :data:`ONE_BY_ONE` scores, the model is refitted for every proposal. After that it is refitted
whenever their number has grown by a sixteenth, and proposals in between take the next best designs
of that model: the time per proposal stays constant.

Expected improvement can get stuck where many designs score the same. While the search does not
improve, every third proposal therefore replaces y* by y* + 1: it looks for much better designs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Objective, Quantity
from bamsearch.sampler.acquire import candidates, chebyshev
from bamsearch.sampler.codes import Floats, Rows, largest_total, totals_of
from bamsearch.sampler.kernel import Kernel
from bamsearch.sampler.kernel_samples import KernelSample, draw_kernel_samples
from bamsearch.sampler.posterior import ModelAverage, posterior_weights, standardise
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed

ONE_BY_ONE = 100
"""Number of scores up to which the model is refitted for every proposal."""

# benchmarks/sampler_regret.md has the regret with these values; the limits on sizes bound the time
# per proposal (benchmarks/search_overhead.md).
_BATCH_GROWTH = 1 / 16  # growth of the data that triggers a refit beyond ONE_BY_ONE
_WEIGH_EACH, _WEIGH_GROWTH = 20, 1 / 8  # the same for p(h | D), which costs most
_DRAWN_FIRST = 4  # uniformly drawn designs before the first model
# After 6 proposals without an improvement, every 3rd must beat y* by 1 (a standard deviation).
_PATIENCE, _EACH_FAR, _FAR = 6, 3, 1.0
_WEIGHED = 150  # most scores that p(h | D) is computed from
# Kernels kept: fewer where a design has many choices, because predictions then take longer.
_LEAST_KEPT, _MOST_KEPT, _KEPT_CHOICES = 2, 8, 32
_CONDITIONED = 500  # most scores that f is conditioned on
_PENDING = 32  # most pending designs
_STARTS = 8  # best observed designs from which the local search starts
_RANKED = 4_000  # designs kept in a ranking
_TRADES = 4  # trade-offs between objectives that share one model
# Acquisition values are rounded before ranking, so that every machine breaks ties alike.
_DECIMALS = 9
_DRAWS = 256  # designs drawn at once where the feasible set is not listed

Observed = Sequence[tuple[Encoding, float]]


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Designs by decreasing acquisition, one table per trade-off between objectives."""

    observed: list[tuple[Encoding, float]]
    pending: list[Encoding]
    tables: list[Rows]


class GPSampler:
    """Proposes the feasible design with the greatest expected improvement.

    With several objectives, it proposes the best design for a trade-off that changes with every
    proposal. Costs are known exactly; only the score is modelled.

    Args:
        feasible: the feasible set.
        objectives: the score is maximised, all others are minimised.
        seed: random seed.
        drawn: draws kernels from the prior.
    """

    def __init__(
        self,
        feasible: Feasible,
        objectives: Sequence[Objective] = ("score",),
        *,
        seed: int = 0,
        drawn: Callable[[Kernel], list[KernelSample]] = draw_kernel_samples,
    ) -> None:
        self._feasible = feasible
        self._seed = seed
        self._kernel = Kernel(feasible)
        self._costs = [_Cost(feasible, quantity) for quantity in objectives if quantity != "score"]
        self._ranking = _Ranking([], [], [])
        self._kernel_samples = drawn(self._kernel)
        self._most_kernels = min(
            max(_KEPT_CHOICES // self._kernel.choices, _LEAST_KEPT), _MOST_KEPT
        )
        # The scores that the posterior weights come from, and the weights.
        self._weighed: tuple[list[tuple[Encoding, float]], list[tuple[KernelSample, float]]] = (
            [],
            [],
        )

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """Propose the next design: feasible, not excluded, and never the base.

        Args:
            observed: designs and their scores in the order in which they finished; scores are
                finite, higher is better.
            excluded: designs that must not be proposed: scored, being scored, or failed.

        Returns:
            The design, or None if none remains.
        """
        if len(observed) < _DRAWN_FIRST:
            return self._any(len(observed), excluded)
        one_by_one = len(observed) <= ONE_BY_ONE
        used = len(observed) if one_by_one else _last(len(observed), ONE_BY_ONE, _BATCH_GROWTH)
        fitted, pending = list(observed[:used]), list[Encoding]()
        if one_by_one:
            pending = sorted(excluded - {encoding for encoding, _ in observed})[:_PENDING]
        if self._ranking.observed != fitted or self._ranking.pending != pending:
            self._ranking = _Ranking(fitted, pending, self._rank(fitted, pending))
        tables = self._ranking.tables
        for row in tables[(len(observed) - used) % len(tables)]:
            if self._may(encoding := tuple(row.tolist()), excluded):
                return encoding
        return self._any(len(observed), excluded)

    def _may(self, encoding: Encoding, excluded: AbstractSet[Encoding]) -> bool:
        return encoding not in excluded and not self._feasible.space.inserts_nothing(encoding)

    def _any(self, number: int, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """A uniform draw from the remaining designs."""
        rng = np.random.default_rng([self._seed, number, len(excluded)])
        if isinstance(self._feasible, Listed):
            table, order = self._feasible.table, rng.permutation(self._feasible.count)
        else:
            table, order = self._feasible.sample(rng, _DRAWS), np.arange(_DRAWS)
        drawn = (tuple(table[number].tolist()) for number in order)
        return next((encoding for encoding in drawn if self._may(encoding, excluded)), None)

    def _rank(self, observed: Observed, pending: Sequence[Encoding]) -> list[Rows]:
        """Candidates by decreasing acquisition, one table per trade-off."""
        table = np.array([encoding for encoding, _ in observed], dtype=np.int8)
        scores = standardise(np.array([score for _, score in observed]))
        used = _conditioned(scores)
        table, scores = table[used], scores[used]
        codes = self._kernel.codes(table)
        best = float(scores.max()) + (_FAR if _stalls(observed) else 0.0)
        model = ModelAverage(self._kernel, self._likely(observed), codes, scores)
        expected, _ = model.predict(codes)
        if pending:
            # Pending designs count as scored at their mean: this lowers the variance around them
            # and keeps parallel workers apart (the "kriging believer", Ginsbourger et al. 2010).
            coming = self._kernel.codes(np.array(pending, dtype=np.int8))
            scores = np.concatenate([scores, model.predict(coming)[0]])
            codes = np.concatenate([codes, coming])
            model = ModelAverage(self._kernel, self._likely(observed), codes, scores)
        order = np.argsort(-expected, kind="stable")
        starts = table[order[self._feasible.which_fit(table[order])][:_STARTS]]
        rng = np.random.default_rng([self._seed, len(observed), len(pending)])
        tables = []
        for _ in range(_TRADES if self._costs and len(observed) >= ONE_BY_ONE else 1):
            value = self._acquisition(rng, model, expected, best)
            rows, values = candidates(self._feasible, rng, starts, value)
            ranks = np.argsort(-np.round(values, _DECIMALS), kind="stable")
            tables.append(rows[ranks[:_RANKED]])
        return tables

    def _acquisition(
        self, rng: np.random.Generator, model: ModelAverage, expected: Floats, best: float
    ) -> Callable[[Rows], Floats]:
        """The acquisition function; with several objectives, for a random trade-off."""
        low, high = float(expected.min()), float(expected.max())
        shares = rng.dirichlet(np.ones(1 + len(self._costs)))

        def improvement(rows: Rows) -> Floats:
            # Over the best score, not the best mean: a search reports the best score.
            return model.log_improvement(self._kernel.codes(rows), best)

        def trade(rows: Rows) -> Floats:
            mean, deviation = model.predict(self._kernel.codes(rows))
            # An upper confidence bound, so that uncertain designs are explored.
            score = (mean + deviation - low) / max(high - low, 1e-9)
            return chebyshev(np.column_stack([score, *(c.gain(rows) for c in self._costs)]), shares)

        return trade if self._costs else improvement

    def _likely(self, observed: Observed) -> list[tuple[KernelSample, float]]:
        """p(h | D) of the best kernels, recomputed whenever the data have grown by an eighth."""
        data = list(observed[: _last(len(observed), _WEIGH_EACH, _WEIGH_GROWTH)])
        if self._weighed[0] != data:
            table = np.array([encoding for encoding, _ in data], dtype=np.int8)
            scores = standardise(np.array([score for _, score in data]))
            subset = np.unique(np.linspace(0, len(data) - 1, _WEIGHED).astype(int))
            codes = self._kernel.codes(table[subset])
            weights = posterior_weights(
                self._kernel, self._kernel_samples, codes, scores[subset], self._most_kernels
            )
            self._weighed = data, weights
        return self._weighed[1]


class _Cost:
    """A cost objective: known exactly, and minimised."""

    def __init__(self, feasible: Feasible, quantity: Quantity) -> None:
        self._added = [
            np.array([float(option.cost(quantity)) for option in choice.options])
            for choice in feasible.space.choices
        ]
        self._scale = largest_total(feasible, self._added)

    def gain(self, rows: Rows) -> Floats:
        """1 - added cost / largest added cost, (n,): 1 for the base, about 0 for the largest."""
        return 1 - totals_of(self._added, rows) / self._scale


def _stalls(observed: Observed) -> bool:
    """Whether this proposal must look for much better designs; see the module's docstring."""
    scores = [score for _, score in observed]
    return len(scores) - scores.index(max(scores)) > _PATIENCE and len(scores) % _EACH_FAR == 0


def _last(number: int, first: int, growth: float) -> int:
    """The last refit at or before number: at every score up to first, then at relative growth."""
    step = min(number, first)
    while (following := step + max(int(step * growth), 1)) <= number:
        step = following
    return step


def _conditioned(scores: Floats) -> NDArray[np.int64]:
    """Indices of the scores that f is conditioned on: all, or the 250 best and 250 of the rest."""
    if len(scores) <= _CONDITIONED:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    best, rest = order[: _CONDITIONED // 2], np.sort(order[_CONDITIONED // 2 :])
    spaced = np.linspace(0, len(rest) - 1, _CONDITIONED - len(best)).astype(int)
    return np.sort(np.concatenate([best, rest[spaced]]))
