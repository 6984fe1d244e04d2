"""The interface of samplers, and the random and the sorted sampler.

A proposal is a function of the seed and the finished trials, so an interrupted search continues as
if it had not been interrupted, and no sampler is pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import numpy as np

from bamsearch.records import Quantity
from bamsearch.space.choices import USUAL_DILATION, Encoding
from bamsearch.space.feasible import Feasible, Listed

Observed = Sequence[tuple[Encoding, float]]

_DRAWN = 256  # designs per draw


class Sampler(Protocol):
    """A sampler of designs."""

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """Propose the next design, never the base; None if none remains.

        Args:
            observed: designs and their scores, in the order in which they finished.
            excluded: designs that are scored, being scored, or failed.
        """


class RandomSampler:
    """Feasible designs in a uniformly random order that depends on the seed alone.

    Args:
        feasible: feasible set.
        seed: random seed.
    """

    def __init__(self, feasible: Feasible, seed: int) -> None:
        self._feasible = feasible
        self._rows = self._drawn(np.random.default_rng(seed))
        self._order: dict[Encoding, None] = {}

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """See :class:`Sampler`."""
        return next(self.order(excluded), None)

    def order(self, excluded: AbstractSet[Encoding] = frozenset()) -> Iterator[Encoding]:
        """The designs that are not excluded, in order; endless if the set is not listed."""
        for encoding in self._order:
            if encoding not in excluded:
                yield encoding
        for row in self._rows:
            encoding = tuple(row.tolist())
            if encoding in self._order or self._feasible.space.inserts_nothing(encoding):
                continue
            self._order[encoding] = None
            if encoding not in excluded:
                yield encoding

    def _drawn(self, rng: np.random.Generator) -> Iterator[np.ndarray[Any, np.dtype[np.int8]]]:
        if isinstance(self._feasible, Listed):
            for row in rng.permutation(self._feasible.count):
                yield self._feasible.table[row]
            return
        while True:
            yield from self._feasible.sample(rng, _DRAWN)


class SortedSampler:
    """Listed designs from the most expensive down: exact for a score that is a cost.

    Such a score ignores d. Designs whose BAMs all have d = 4, or the first d of their r if 4 is not
    an option, come first; the rest follows in the same order.

    Args:
        feasible: feasible set.
        quantity: cost that is the score.
    """

    def __init__(self, feasible: Listed, quantity: Quantity) -> None:
        table, space = feasible.table, feasible.space
        cost, macs, unusual = np.zeros((3, len(table)), dtype=np.int64)
        for column, choice in enumerate(space.choices):
            usual = {o.reduction: o for o in reversed(choice.options)}
            usual |= {o.reduction: o for o in choice.options if o.dilation == USUAL_DILATION}
            rows = [(o.cost(quantity), o.macs, o != usual[o.reduction]) for o in choice.options]
            costs, multiply_adds, unusual_d = np.array(rows, dtype=np.int64).T
            cost += costs[table[:, column]]
            macs += multiply_adds[table[:, column]]
            unusual |= unusual_d[table[:, column]]
        # Ties go to fewer multiply-adds, as in the ranking.
        order = np.lexsort((macs, -cost, unusual))
        self._rows = [tuple(row) for row in table[order].tolist()]
        self._space = space

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """See :class:`Sampler`."""
        remaining = (row for row in self._rows if row not in excluded)
        return next((row for row in remaining if not self._space.inserts_nothing(row)), None)
