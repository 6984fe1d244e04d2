"""The designs of a space that keep all budgets: listed, where they can be, else counted.

What a design costs is a sum over its BAMs, so that the set is known exactly before anything is
built. Up to :data:`LISTED` designs are listed; of more, see :mod:`bamsearch.searching.counted`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bamsearch.errors import NothingFitsError
from bamsearch.records import Budget
from bamsearch.searching.budget import amount_text, option_name, typed_up
from bamsearch.searching.choices import USUAL_DILATION, Picks, SearchSpace

LISTED = 500_000
"""How many feasible designs are listed at the most: a row of bytes each."""


class Feasible(ABC):
    """The feasible designs of a space.

    Attributes:
        space: the space.
        budgets: what every design keeps.
        designs: how many there are in the space.
        count: how many of them fit.
        exact: whether count is exact; else it is an estimate, for spaces of dozens of sites in
            many different groups.
    """

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget]) -> None:
        self.space = space
        self.budgets = tuple(budgets)
        self.designs = space.designs
        self.count = 0
        self.exact = True
        self.costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
        self.slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)

    def fits(self, picks: Sequence[int]) -> bool:
        """Whether a design keeps all budgets."""
        rows = [costs[number] for costs, number in zip(self.costs, picks, strict=True)]
        return bool((np.sum(rows, axis=0) <= self.slacks).all())

    def which_fit(self, table: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which rows of picks, (n, choices), keep all budgets."""
        total = np.zeros((len(table), len(self.budgets)), dtype=np.int64)
        for column, costs in enumerate(self.costs):
            total += costs[table[:, column]]
        fits: NDArray[np.bool_] = np.all(total <= self.slacks, axis=1)
        return fits

    @abstractmethod
    def sample(self, rng: np.random.Generator, number: int) -> NDArray[np.int8]:
        """Feasible designs drawn uniformly, with replacement: (number, choices)."""

    @abstractmethod
    def largest(self) -> Picks:
        """The feasible design with most parameters; among equals, with d = 4 where it can be."""


class Listed(Feasible):
    """A feasible set small enough to be listed.

    Attributes:
        table: every feasible design as a row of picks, (count, choices), in lexical order.
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

    def largest(self) -> Picks:
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
    """What each option of a choice adds: (options, budgets), in the budgets' units."""
    options = space.choices[index].options
    rows = [[option.cost(budget.quantity) for budget in budgets] for option in options]
    return np.array(rows, dtype=np.int64).reshape(len(options), len(budgets))


def feasible(space: SearchSpace, budgets: Sequence[Budget], listed: int = LISTED) -> Feasible:
    """The designs of a space that keep all budgets.

    Args:
        space: the space.
        budgets: any number, of different quantities.
        listed: how many feasible designs are listed at the most.

    Raises:
        NothingFitsError: none but perhaps the base; it names the smallest budgets that would do.
    """
    _check_any(space, budgets)
    table = _list(space, budgets, listed)
    if table is not None:
        return Listed(space, budgets, table)
    from bamsearch.searching.counted import Counted

    return Counted(space, budgets)


def smallest(space: SearchSpace, budgets: Sequence[Budget]) -> Picks:
    """The design with BAM that has fewest parameters, of those that fit if any does.

    One BAM; or, where sites must have BAM, those alone.
    """
    none = tuple(0 for _ in space.choices)
    if not space.inserts_nothing(none):
        return tuple(
            min(range(len(c.options)), key=[option.params for option in c.options].__getitem__)
            for c in space.choices
        )
    single = [
        (*none[:index], number, *none[index + 1 :])
        for index, choice in enumerate(space.choices)
        for number in range(1, len(choice.options))
    ]

    def size(picks: Picks) -> tuple[bool, int, bool]:
        over = any(space.added(picks, budget.quantity) > budget.slack for budget in budgets)
        usual = any(i.dilation == USUAL_DILATION for i in space.insertions(picks))
        return over, space.added(picks, "params"), not usual

    return min(single, key=size)


def _list(space: SearchSpace, budgets: Sequence[Budget], listed: int) -> NDArray[np.int8] | None:
    """All feasible rows of picks; None if there are more than listed."""
    costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
    slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)
    # The least that the later choices add: 0 where they may stay off.
    later = np.cumsum([one.min(axis=0) for one in costs[::-1]], axis=0)[::-1]
    table = np.zeros((1, 0), dtype=np.int8)
    total = np.zeros((1, len(budgets)), dtype=np.int64)
    for index, added in enumerate(costs):
        least = later[index + 1] if index + 1 < len(costs) else 0
        sums = total[:, None, :] + added[None, :, :]
        before, number = np.nonzero((sums + least <= slacks).all(axis=2))
        if len(before) > listed:
            return None
        table = np.column_stack([table[before], number.astype(np.int8)])
        total = sums[before, number]
    return table


def _check_any(space: SearchSpace, budgets: Sequence[Budget]) -> None:
    """Raise NothingFitsError where no design with BAM keeps the budgets."""
    if not budgets:
        return
    slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)
    over = np.maximum(_least_added(space, budgets) - slacks, 0).tolist()
    limits = [max(budget.limit, 1) for budget in budgets]
    # The design that is least over, each budget in proportion: to name one that needs all that it
    # asks for.
    least = min(
        over, key=lambda row: sum(Fraction(n, limit) for n, limit in zip(row, limits, strict=True))
    )
    if any(least):
        raise NothingFitsError(_smallest_budgets(space, budgets, least))


def _least_added(space: SearchSpace, budgets: Sequence[Budget]) -> NDArray[np.int64]:
    """What the cheapest designs with BAM add, (designs, budgets): no other is below all of them.

    They have one BAM; or, where sites must have BAM, those alone.
    """
    costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
    optional = [choice.options[0].off for choice in space.choices]
    if all(optional):
        return _undominated(np.concatenate([rows[1:] for rows in costs]))
    added = np.zeros((1, len(budgets)), dtype=np.int64)
    for rows, may_be_off in zip(costs, optional, strict=True):
        if not may_be_off:
            sums = added[:, None, :] + _undominated(rows)
            added = _undominated(sums.reshape(-1, len(budgets)))
    return added


def _undominated(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that no other is below or equal to in every column."""
    left = np.unique(rows, axis=0)
    found = []
    while len(left):
        found.append(left[0])
        left = left[(left < left[0]).any(axis=1)]
    return np.array(found)


def _smallest_budgets(space: SearchSpace, budgets: Sequence[Budget], over: list[int]) -> str:
    """One line: what was too small, what the base takes, and what would do."""
    wanted = [
        (budget, budget.limit + missing)
        for budget, missing in zip(budgets, over, strict=True)
        if missing
    ]
    too_small = " and ".join(f"{option_name(b.quantity)} {b.text}" for b, _ in wanted)
    base = ", ".join(amount_text(b.quantity, b.base) for b, _ in wanted)
    do = " ".join(f"{option_name(b.quantity)} {typed_up(b.quantity, n)}" for b, n in wanted)
    return (
        f"no design of {space.summary.model} in space {space.name} keeps {too_small}: the base "
        f"alone takes {base}; the smallest that would do is {do}"
    )
