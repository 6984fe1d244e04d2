"""The sampler for noisy scores: it may propose a design again, with another seed.

Notation: mu(x) and sigma^2(x) are the mean and the variance of the model's posterior at design x
(:mod:`~bamsearch.sampler.noisy_model`), tau^2 the variance of the noise, X the feasible set, and
x* the observed design with the greatest mean. A proposal is::

    first 5 designs   a space-filling design in the most expensive quarter of X
    later             argmax over x in X of  E[max(f(x) - mu(x*), 0)]
                                             * (1 - tau / sqrt(sigma^2(x) + tau^2))

The second line is the augmented expected improvement (Huang et al. 2006). It is over the greatest
*mean*, not over the best score, which may be luck; and it is discounted where another training
would hardly reduce the variance. So a good design is trained again while its mean is uncertain, and
a design with one lucky training is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

import numpy as np
from threadpoolctl import threadpool_limits

from bamsearch.sampler.acquire import candidates
from bamsearch.sampler.basic_samplers import Observed, RandomSampler
from bamsearch.sampler.codes import Floats, Rows, totals_of
from bamsearch.sampler.noisy_model import Features, NoisyModel
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed

FIRST = 5
"""Number of designs before the model proposes, baselines included."""

BAND = 0.75
"""Cost quantile from which the first designs are taken: a search under a budget looks there."""

# Sizes that bound the time per proposal: designs drawn, those compared for spacing, candidates
# drawn, best designs whose neighbours are candidates, pending designs.
_DRAWN, _SPACED, _CANDIDATES, _CONTENDERS, _PENDING = 2_000, 200, 1_500, 6, 32
# Acquisition values are rounded before ranking, so that every machine breaks ties alike.
_DECIMALS = 9


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
        quantity = feasible.budgets[0].quantity if feasible.budgets else "params"
        self._costs = [
            np.array([float(option.cost(quantity)) for option in choice.options])
            for choice in feasible.space.choices
        ]
        sampled = feasible.sample(np.random.default_rng(0), _DRAWN)
        self._edge = float(np.quantile(totals_of(self._costs, sampled), BAND))

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
        rows = rows[totals_of(self._costs, rows) >= self._edge][:_SPACED]
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
        expected = model.mean(designs)
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
