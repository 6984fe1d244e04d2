"""The interface of samplers, and the random and the sorted sampler.

A proposal is a function of the seed and the finished trials, so an interrupted search continues as
if it had not been interrupted, and no sampler is pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Quantity
from bamsearch.space.choices import USUAL_DILATION, Encoding
from bamsearch.space.feasible import Feasible, Listed, looked_up

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
        seed: random seed, or several numbers that make one.
    """

    def __init__(self, feasible: Feasible, seed: int | Sequence[int]) -> None:
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

    def _drawn(self, rng: np.random.Generator) -> Iterator[NDArray[np.int8]]:
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
        table = feasible.table
        unusual = []
        for choice in feasible.space.choices:
            usual = {o.reduction: o for o in reversed(choice.options)}
            usual |= {o.reduction: o for o in choice.options if o.dilation == USUAL_DILATION}
            unusual.append(np.array([int(o != usual[o.reduction]) for o in choice.options]))
        # Ties go to fewer multiply-adds, as in the ranking.
        macs, cost = feasible.added(table, "gflops"), feasible.added(table, quantity)
        order = np.lexsort((macs, -cost, looked_up(unusual, table) > 0))
        self._rows = [tuple(row) for row in table[order].tolist()]
        self._space = feasible.space

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """See :class:`Sampler`."""
        remaining = (row for row in self._rows if row not in excluded)
        return next((row for row in remaining if not self._space.inserts_nothing(row)), None)
