"""The feasible set: the designs of a space that are within all budgets.

The cost of a design is a sum over its BAMs, so the set is known exactly before any network is
built. Small sets are listed; for larger ones, see :mod:`bamsearch.space.counted`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Budget
from bamsearch.space.choices import USUAL_DILATION, Encoding, SearchSpace


class Feasible(ABC):
    """The feasible designs of a space.

    Attributes:
        space: the space.
        budgets: budgets.
        designs: number of designs in the space.
        count: number of feasible designs.
        exact: whether ``count`` is exact; it is an estimate for spaces of dozens of sites in many
            different groups.
    """

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget]) -> None:
        self.space = space
        self.budgets = tuple(budgets)
        self.designs = space.designs
        self.count = 0
        self.exact = True
        self.costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
        self.slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)

    def fits(self, encoding: Sequence[int]) -> bool:
        """Whether a design is within all budgets."""
        rows = [costs[number] for costs, number in zip(self.costs, encoding, strict=True)]
        return bool((np.sum(rows, axis=0) <= self.slacks).all())

    def which_fit(self, table: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Mask of the rows of encodings, (n, choices), that are within all budgets: (n,)."""
        total = np.zeros((len(table), len(self.budgets)), dtype=np.int64)
        for column, costs in enumerate(self.costs):
            total += costs[table[:, column]]
        fits: NDArray[np.bool_] = np.all(total <= self.slacks, axis=1)
        return fits

    @abstractmethod
    def sample(self, rng: np.random.Generator, number: int) -> NDArray[np.int8]:
        """Feasible designs drawn uniformly, with replacement: (number, choices)."""

    @abstractmethod
    def largest(self) -> Encoding:
        """The feasible design with most parameters; among equals, with d = 4 where possible."""


class Listed(Feasible):
    """A feasible set small enough to be listed.

    Attributes:
        table: every feasible design as an encoding, (count, choices), in lexical order.
    """

    def __init__(
        self, space: SearchSpace, budgets: Sequence[Budget], table: NDArray[np.int8]
    ) -> None:
        super().__init__(space, budgets)
        self.table = table
        self.count = len(table)

    def sample(self, rng: np.random.Generator, number: int) -> NDArray[np.int8]:
        """See :meth:`Feasible.sample`."""
        drawn: NDArray[np.int8] = self.table[rng.integers(self.count, size=number)]
        return drawn

    def largest(self) -> Encoding:
        """See :meth:`Feasible.largest`."""
        params = np.zeros(self.count, dtype=np.int64)
        usual = np.zeros(self.count, dtype=np.int64)
        for column, choice in enumerate(self.space.choices):
            added = np.array([option.params for option in choice.options])
            preferred = np.array([option.dilation == USUAL_DILATION for option in choice.options])
            params += added[self.table[:, column]]
            usual += preferred[self.table[:, column]]
        most = np.lexsort((-usual, -params))[0]
        return tuple(int(number) for number in self.table[most])


def costs_of(space: SearchSpace, index: int, budgets: Sequence[Budget]) -> NDArray[np.int64]:
    """Added cost of each option of a choice, in the units of the budgets: (options, budgets)."""
    options = space.choices[index].options
    rows = [[option.cost(budget.quantity) for budget in budgets] for option in options]
    return np.array(rows, dtype=np.int64).reshape(len(options), len(budgets))
