"""Proposals where a score is noisy: a design may be trained again, with another seed.

The first designs are spaced: far apart from each other, and in the most expensive quarter of the
feasible set, where a search under a budget looks. Later ones have the greatest augmented expected
improvement of :mod:`~bamsearch.searching.noisy_model`: over what is *expected* of the best design,
not over its best score, which may be luck, and less where one more training says little. So a
contender is trained again while its mean is uncertain, and a lucky design is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

import numpy as np
from threadpoolctl import threadpool_limits

from bamsearch.searching.acquire import candidates
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Floats, Rows, total
from bamsearch.searching.feasible import Feasible, Listed
from bamsearch.searching.noisy_model import Features, NoisyModel
from bamsearch.searching.proposers import Observed, RandomProposer

FIRST = 5
"""Designs that are trained before the model is asked, those that others asked for among them."""

BAND = 0.75
"""Quantile of what designs cost at which the first designs begin."""

_DRAWN, _SPACED, _CANDIDATES, _CONTENDERS, _PENDING = 2_000, 200, 1_500, 6, 32
_DECIMALS = 9


class NoisyProposer:
    """Proposes designs, new ones and others again; one objective.

    Args:
        feasible: the feasible set.
        seed: random seed.
    """

    def __init__(self, feasible: Feasible, seed: int = 0) -> None:
        self._feasible, self._seed = feasible, seed
        self._features = Features(feasible)
        self._draws = self._features.draws()
        quantity = feasible.budgets[0].quantity if feasible.budgets else "params"
        self._costs = [
            np.array([float(option.cost(quantity)) for option in choice.options])
            for choice in feasible.space.choices
        ]
        sampled = feasible.sample(np.random.default_rng(0), _DRAWN)
        self._edge = float(np.quantile(total(self._costs, sampled), BAND))

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """The next design, which may be one that was observed already; never the empty one.

        Args:
            observed: designs and their scores, as they finished; one design may be there often.
            excluded: designs that must not be proposed: being scored right now, or failed.

        Returns:
            None if nothing is left.
        """
        rng = np.random.default_rng([self._seed, len(observed), len(excluded)])
        seen = {picks for picks, _ in observed} | excluded
        # Several BLAS threads make matrices of this size slower, not faster.
        with threadpool_limits(limits=1, user_api="blas"):
            rows = (
                self._spaced(rng, seen)
                if len(seen) < FIRST
                else self._worth(rng, observed, excluded)
            )
            for picks in map(tuple, rows):
                if picks not in excluded and not self._feasible.space.inserts_nothing(picks):
                    return picks
        return RandomProposer(self._feasible, self._seed).propose(observed, excluded)

    def _spaced(self, rng: np.random.Generator, seen: AbstractSet[Picks]) -> list[list[int]]:
        """Designs in the band, the farthest from those seen first."""
        rows = self._feasible.sample(rng, _DRAWN)
        rows = rows[total(self._costs, rows) >= self._edge][:_SPACED]
        apart: Floats = rng.random(len(rows))
        if seen:
            others = np.array(sorted(seen), dtype=np.int8)
            apart += (rows[:, None] != others).sum(axis=2).min(axis=1)
        ordered: list[list[int]] = rows[np.argsort(-apart, kind="stable")].tolist()
        return ordered

    def _worth(
        self, rng: np.random.Generator, observed: Observed, excluded: AbstractSet[Picks]
    ) -> Iterator[list[int]]:
        """Designs by their augmented expected improvement, the greatest first."""
        table = np.array([picks for picks, _ in observed], dtype=np.int8)
        waiting = sorted(excluded - {picks for picks, _ in observed})[:_PENDING]
        pending = np.array(waiting, dtype=np.int8).reshape(len(waiting), table.shape[1])
        scores = np.array([score for _, score in observed])
        model = NoisyModel(self._features, self._draws, table, scores, pending)
        known = np.unique(table, axis=0)
        expected = model.mean(known)
        best = float(expected.max())
        contenders = known[np.argsort(-expected, kind="stable")]
        contenders = contenders[self._feasible.which_fit(contenders)][:_CONTENDERS]

        def value(rows: Rows) -> Floats:
            return model.log_worth(rows, best)

        rows, values = self._candidates(rng, contenders, value)
        # Equal values in any order: no choice is favoured for its place in the table.
        order = rng.permutation(len(rows))
        order = order[np.argsort(-np.round(values[order], _DECIMALS), kind="stable")]
        return iter(rows[order].tolist())

    def _candidates(
        self, rng: np.random.Generator, contenders: Rows, value: Callable[[Rows], Floats]
    ) -> tuple[Rows, Floats]:
        """All designs where they are few; else some, with the contenders' neighbours."""
        feasible = self._feasible
        if not isinstance(feasible, Listed):
            return candidates(feasible, rng, contenders, value)
        rows = feasible.table
        if len(rows) > 2 * _CANDIDATES:
            apart = (rows[:, None] != contenders).sum(axis=2)
            drawn = rng.choice(len(rows), _CANDIDATES, replace=False)
            rows = rows[np.union1d(np.flatnonzero((apart <= 1).any(axis=1)), drawn)]
        return rows, value(rows)
