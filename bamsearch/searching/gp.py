"""The default way to propose designs: Gaussian processes over the designs that fit.

A proposal is a function of the feasible set, the seed, and what was observed and excluded, so that
a search that was interrupted goes on as if it had not been. What is kept between proposals only
saves working it out again.

Up to :data:`ONE_BY_ONE` designs, each proposal uses all scores. From then on the model is made
anew each time that what was observed has grown by a sixteenth, and proposals in between are the
next best of that model: the time a proposal takes stays the same.

Expected improvement can stay for long where many designs score the same. While nothing gets
better, each third proposal is therefore the likeliest to be far better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Objective, Quantity
from bamsearch.searching.acquire import candidates, chebyshev
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Floats, Rows, largest_total, total
from bamsearch.searching.feasible import Feasible, Listed
from bamsearch.searching.hypotheses import Hypothesis, hypotheses
from bamsearch.searching.kernel import Kernel
from bamsearch.searching.posterior import Mixture, believed, standardise

ONE_BY_ONE = 100
"""Designs up to which each score counts at once."""

_BATCH_GROWTH = 1 / 16
_WEIGH_EACH, _WEIGH_GROWTH = 20, 1 / 8
_DRAWN_FIRST = 4
# After so many proposals that were no better, each third is to be better by so many spreads.
_PATIENCE, _EACH_FAR, _FAR = 6, 3, 1.0
_WEIGHED = 150
# Hypotheses kept: fewer where a design has many choices, whose predictions take longer.
_LEAST_KEPT, _MOST_KEPT, _KEPT_CHOICES = 2, 8, 32
_CONDITIONED = 500
_PENDING = 32
_STARTS = 8
_RANKED = 4_000
_TRADES = 4
# Acquisitions closer than this are equal: the first design of them is taken, on any machine.
_DECIMALS = 9
_DRAWS = 256

Observed = Sequence[tuple[Picks, float]]


@dataclass(frozen=True, slots=True)
class _Ranking:
    """The best designs first: a table for each trade-off between objectives."""

    observed: list[tuple[Picks, float]]
    pending: list[Picks]
    tables: list[Rows]


class GPProposer:
    """Proposes the feasible design with the greatest expected improvement.

    With several objectives, the one that is best for a trade-off between them, another each time:
    costs are known exactly, only the score is modelled.

    Args:
        feasible: the feasible set.
        objectives: the score is to be greatest, all others least.
        seed: of all that is drawn.
        drawn: gives what may be true of the score.
    """

    def __init__(
        self,
        feasible: Feasible,
        objectives: Sequence[Objective] = ("score",),
        *,
        seed: int = 0,
        drawn: Callable[[Kernel], list[Hypothesis]] = hypotheses,
    ) -> None:
        self._feasible = feasible
        self._seed = seed
        self._kernel = Kernel(feasible)
        self._costs = [_Cost(feasible, one) for one in objectives if one != "score"]
        self._ranking = _Ranking([], [], [])
        self._hypotheses = drawn(self._kernel)
        self._kept = min(max(_KEPT_CHOICES // self._kernel.choices, _LEAST_KEPT), _MOST_KEPT)
        self._believed: tuple[list[tuple[Picks, float]], list[tuple[Hypothesis, float]]] = ([], [])

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """The next design: feasible, not excluded, and never the empty one.

        Args:
            observed: designs and their scores, finite and higher better, as they finished.
            excluded: designs that must not be proposed: scored, being scored, or failed.

        Returns:
            None if nothing is left.
        """
        if len(observed) < _DRAWN_FIRST:
            return self._any(len(observed), excluded)
        one_by_one = len(observed) <= ONE_BY_ONE
        used = len(observed) if one_by_one else _last(len(observed), ONE_BY_ONE, _BATCH_GROWTH)
        known, pending = list(observed[:used]), list[Picks]()
        if one_by_one:
            pending = sorted(excluded - {picks for picks, _ in observed})[:_PENDING]
        if self._ranking.observed != known or self._ranking.pending != pending:
            self._ranking = _Ranking(known, pending, self._rank(known, pending))
        tables = self._ranking.tables
        for row in tables[(len(observed) - used) % len(tables)]:
            if self._may(picks := tuple(row.tolist()), excluded):
                return picks
        return self._any(len(observed), excluded)

    def _may(self, picks: Picks, excluded: AbstractSet[Picks]) -> bool:
        return picks not in excluded and not self._feasible.space.inserts_nothing(picks)

    def _any(self, number: int, excluded: AbstractSet[Picks]) -> Picks | None:
        """A design drawn uniformly from what is left."""
        rng = np.random.default_rng([self._seed, number, len(excluded)])
        if isinstance(self._feasible, Listed):
            table, order = self._feasible.table, rng.permutation(self._feasible.count)
        else:
            table, order = self._feasible.sample(rng, _DRAWS), np.arange(_DRAWS)
        drawn = (tuple(table[number].tolist()) for number in order)
        return next((picks for picks in drawn if self._may(picks, excluded)), None)

    def _rank(self, observed: Observed, pending: Sequence[Picks]) -> list[Rows]:
        """The designs worth a proposal, the best first, for each trade-off."""
        table = np.array([picks for picks, _ in observed], dtype=np.int8)
        scores = standardise(np.array([score for _, score in observed]))
        kept = _conditioned(scores)
        table, scores = table[kept], scores[kept]
        codes = self._kernel.codes(table)
        best = float(scores.max()) + (_FAR if _stalls(observed) else 0.0)
        model = Mixture(self._kernel, self._likely(observed), codes, scores)
        expected, _ = model.predict(codes)
        if pending:
            # As if they had scored what is expected of them: elsewhere there is more to learn.
            coming = self._kernel.codes(np.array(pending, dtype=np.int8))
            scores = np.concatenate([scores, model.predict(coming)[0]])
            codes = np.concatenate([codes, coming])
            model = Mixture(self._kernel, self._likely(observed), codes, scores)
        order = np.argsort(-expected, kind="stable")
        starts = table[order[self._feasible.which_fit(table[order])][:_STARTS]]
        rng = np.random.default_rng([self._seed, len(observed), len(pending)])
        tables = []
        for _ in range(_TRADES if self._costs and len(observed) >= ONE_BY_ONE else 1):
            value = self._acquisition(rng, model, expected, best)
            rows, values = candidates(self._feasible, rng, starts, value)
            first = np.argsort(-np.round(values, _DECIMALS), kind="stable")
            tables.append(rows[first[:_RANKED]])
        return tables

    def _acquisition(
        self, rng: np.random.Generator, model: Mixture, expected: Floats, best: float
    ) -> Callable[[Rows], Floats]:
        """What the next design has most of; with several objectives, for a drawn trade-off."""
        low, high = float(expected.min()), float(expected.max())
        shares = rng.dirichlet(np.ones(1 + len(self._costs)))

        def improvement(rows: Rows) -> Floats:
            # Over the best score, noise and all: it is the best score that a search reports.
            return model.log_improvement(self._kernel.codes(rows), best)

        def trade(rows: Rows) -> Floats:
            mean, deviation = model.predict(self._kernel.codes(rows))
            score = (mean + deviation - low) / max(high - low, 1e-9)
            return chebyshev(np.column_stack([score, *(c.gain(rows) for c in self._costs)]), shares)

        return trade if self._costs else improvement

    def _likely(self, observed: Observed) -> list[tuple[Hypothesis, float]]:
        """What is believed, weighed anew each time that what is known has grown by an eighth."""
        known = list(observed[: _last(len(observed), _WEIGH_EACH, _WEIGH_GROWTH)])
        if self._believed[0] != known:
            table = np.array([picks for picks, _ in known], dtype=np.int8)
            scores = standardise(np.array([score for _, score in known]))
            some = np.unique(np.linspace(0, len(known) - 1, _WEIGHED).astype(int))
            codes = self._kernel.codes(table[some])
            kept = believed(self._kernel, self._hypotheses, codes, scores[some], self._kept)
            self._believed = known, kept
        return self._believed[1]


class _Cost:
    """An objective that is known exactly, and least at best."""

    def __init__(self, feasible: Feasible, quantity: Quantity) -> None:
        self._added = [
            np.array([float(option.cost(quantity)) for option in choice.options])
            for choice in feasible.space.choices
        ]
        self._scale = largest_total(feasible, self._added)

    def gain(self, rows: Rows) -> Floats:
        """1 for what adds nothing, about 0 for what adds most."""
        return 1 - total(self._added, rows) / self._scale


def _stalls(observed: Observed) -> bool:
    """Whether to look for much better designs only: now and then, while nothing gets better."""
    scores = [score for _, score in observed]
    return len(scores) - scores.index(max(scores)) > _PATIENCE and len(scores) % _EACH_FAR == 0


def _last(number: int, first: int, growth: float) -> int:
    """The last step, not above number, of a schedule: each up to first, then growing by a share."""
    step = min(number, first)
    while (following := step + max(int(step * growth), 1)) <= number:
        step = following
    return step


def _conditioned(scores: Floats) -> NDArray[np.int64]:
    """Which designs the model uses: all, or of many the best half, and of the others each nth."""
    if len(scores) <= _CONDITIONED:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    best, others = order[: _CONDITIONED // 2], np.sort(order[_CONDITIONED // 2 :])
    some = np.linspace(0, len(others) - 1, _CONDITIONED - len(best)).astype(int)
    return np.sort(np.concatenate([best, others[some]]))
