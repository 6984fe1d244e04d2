"""The feasible set: the designs of a space that are within all budgets.

The cost of a design is a sum over its BAMs, so the set is known exactly before any network is
built. Small sets are listed; larger ones are counted (:mod:`bamsearch.space.counting`) and drawn
from (:mod:`bamsearch.space.draws`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from bamsearch.errors import NothingFitsError
from bamsearch.records import Budget, Quantity
from bamsearch.space.budget import amount_text, option_name, typed_up
from bamsearch.space.choices import USUAL_DILATION, Encoding, Option, SearchSpace
from bamsearch.space.counting import Ints, count_designs, groups_of, list_halves, most_params
from bamsearch.space.draws import UniformDraws

Rows = NDArray[np.int8]
"""Designs: (n, choices), the number of the chosen option."""

LISTED = 500_000
"""Most feasible designs that are listed: each is a row of bytes."""

_Number = TypeVar("_Number", np.int64, np.float64)


def feasible(space: SearchSpace, budgets: Sequence[Budget], listed: int = LISTED) -> Feasible:
    """The feasible set of a space.

    Args:
        space: the space.
        budgets: any number of budgets, of different quantities.
        listed: most feasible designs that are listed.

    Raises:
        NothingFitsError: no design with BAM is feasible; it names the smallest feasible budgets.
    """
    _check_any(space, budgets)
    table = _list(space, budgets, listed)
    return Counted(space, budgets) if table is None else Listed(space, budgets, table)


class Feasible(ABC):
    """The feasible designs of a space.

    Attributes:
        space: the space.
        budgets: budgets.
        designs: number of designs in the space.
        count: number of feasible designs.
        exact: whether ``count`` is exact; it is an estimate for spaces of dozens of sites in many
            different groups.
        costs: added costs of the options of each choice: (options, budgets).
        slacks: costs that the budgets leave to BAM: (budgets,).
    """

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget]) -> None:
        self.space = space
        self.budgets = tuple(budgets)
        self.designs = space.designs
        self.count = 0
        self.exact = True
        self.costs = _costs(space, [budget.quantity for budget in budgets])
        self.slacks = _slacks(budgets)
        self._amounts = {q: [rows[:, 0] for rows in _costs(space, [q])] for q in get_args(Quantity)}

    def fits(self, encoding: Sequence[int]) -> bool:
        """Whether a design is within all budgets."""
        return bool(self.which_fit(np.array([encoding], dtype=np.int8))[0])

    def which_fit(self, table: Rows) -> NDArray[np.bool_]:
        """Mask of the designs that are within all budgets: (n,)."""
        fits: NDArray[np.bool_] = np.all(looked_up(self.costs, table) <= self.slacks, axis=1)
        return fits

    def added(self, table: Rows, quantity: Quantity) -> Ints:
        """Costs that designs add to the base, in the unit of a budget: (n,)."""
        return looked_up(self._amounts[quantity], table)

    @abstractmethod
    def sample(self, rng: np.random.Generator, number: int) -> Rows:
        """Feasible designs drawn uniformly, with replacement: (number, choices)."""

    @abstractmethod
    def largest(self) -> Encoding:
        """The feasible design with most parameters; among equals, with d = 4 where possible."""


class Listed(Feasible):
    """A feasible set small enough to be listed.

    Attributes:
        table: all feasible designs, (count, choices), in lexical order.
    """

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget], table: Rows) -> None:
        super().__init__(space, budgets)
        self.table = table
        self.count = len(table)

    def sample(self, rng: np.random.Generator, number: int) -> Rows:
        """See :meth:`Feasible.sample`."""
        drawn: Rows = self.table[rng.integers(self.count, size=number)]
        return drawn

    def largest(self) -> Encoding:
        """See :meth:`Feasible.largest`."""
        usual = [np.array([int(_usual(o)) for o in c.options]) for c in self.space.choices]
        order = np.lexsort((-looked_up(usual, self.table), -self.added(self.table, "params")))
        return tuple(self.table[order[0]].tolist())


class Counted(Feasible):
    """A feasible set of more designs than can be listed; at least one design is feasible."""

    def __init__(self, space: SearchSpace, budgets: Sequence[Budget]) -> None:
        super().__init__(space, budgets)
        self._above, self._slacks = _above_least(self.costs, self.slacks)
        self._groups = groups_of(self._above)
        halves = list_halves(self._groups, self._slacks)
        self.exact = halves is not None
        if halves is None:
            self.count = self._draws.estimate(self.designs)
        else:
            self.count = count_designs(halves, self._slacks)

    @cached_property
    def _draws(self) -> UniformDraws:
        return UniformDraws(self._groups, self._slacks, self.which_fit)

    def sample(self, rng: np.random.Generator, number: int) -> Rows:
        """See :meth:`Feasible.sample`."""
        return self._draws.draw(rng, number)

    def largest(self) -> Encoding:
        """See :meth:`Feasible.largest`."""
        columns = zip(self._above, self._amounts["params"], strict=True)
        encoding = [0] * len(self.space.choices)
        for group, taken in most_params(groups_of(map(np.column_stack, columns)), self._slacks):
            levels = np.repeat(np.arange(len(taken)), taken)
            for member, (column, level) in enumerate(zip(group.columns, levels, strict=True)):
                start = group.starts[level]
                equal = sorted(group.order[member, start : start + group.times[level]].tolist())
                options = self.space.choices[column].options
                usual = (number for number in equal if _usual(options[number]))
                encoding[column] = next(usual, equal[0])
        return tuple(encoding)


def looked_up(tables: Sequence[NDArray[_Number]], table: NDArray[np.integer]) -> NDArray[_Number]:
    """Sums over the columns of a table of integers: of each number's row in the column's own table.

    Args:
        tables: a table for each column, (numbers, …).
        table: numbers, (n, columns).

    Returns:
        Sums, (n, …).
    """
    total: NDArray[_Number] = tables[0][table[:, 0]]
    for column, rows in enumerate(tables[1:], start=1):
        total += rows[table[:, column]]
    return total


def smallest(space: SearchSpace, budgets: Sequence[Budget]) -> Encoding:
    """The design with BAM that has fewest parameters, among the feasible ones if any is.

    It has one BAM, or BAM at the mandatory sites only.
    """
    none = tuple(0 for _ in space.choices)
    if not space.inserts_nothing(none):
        params = [[option.params for option in choice.options] for choice in space.choices]
        return tuple(added.index(min(added)) for added in params)
    single = [
        (*none[:index], number, *none[index + 1 :])
        for index, choice in enumerate(space.choices)
        for number in range(1, len(choice.options))
    ]

    def size(encoding: Encoding) -> tuple[bool, int, bool]:
        over = any(not b.admits(b.base + space.added(encoding, b.quantity)) for b in budgets)
        usual = any(i.dilation == USUAL_DILATION for i in space.insertions(encoding))
        return over, space.added(encoding, "params"), not usual

    return min(single, key=size)


def _usual(option: Option) -> bool:
    return option.dilation == USUAL_DILATION


def _costs(space: SearchSpace, quantities: Sequence[Quantity]) -> list[Ints]:
    """Added costs of the options of each choice, in the units of budgets: (options, quantities)."""
    return [
        np.array([[option.cost(q) for q in quantities] for option in c.options], dtype=np.int64)
        for c in space.choices
    ]


def _slacks(budgets: Sequence[Budget]) -> Ints:
    return np.array([budget.slack for budget in budgets], dtype=np.int64)


def _list(space: SearchSpace, budgets: Sequence[Budget], listed: int) -> Rows | None:
    """All feasible designs; None if there are more than ``listed``."""
    costs, slacks = _costs(space, [budget.quantity for budget in budgets]), _slacks(budgets)
    # Least added cost of the later choices, a bound that prunes: 0 where they may be off.
    later = np.cumsum([added.min(axis=0) for added in costs[::-1]], axis=0)[::-1]
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


def _above_least(costs: Sequence[Ints], slacks: Ints) -> tuple[list[Ints], Ints]:
    """Costs above each choice's minimum, with matching slacks; only budgets that exclude designs.

    Returns:
        Costs of each choice, (options, budgets), and slacks, (budgets,).
    """
    least = [rows.min(axis=0) for rows in costs]
    above = [rows - lowest for rows, lowest in zip(costs, least, strict=True)]
    remaining = slacks - np.sum(least, axis=0)
    excludes = np.sum([rows.max(axis=0) for rows in above], axis=0) > remaining
    if not excludes.any():
        # Every design is feasible: a single budget under which all options cost 0.
        return [np.zeros((len(rows), 1), dtype=np.int64) for rows in costs], np.zeros(1, np.int64)
    return [rows[:, excludes] for rows in above], remaining[excludes]


def _check_any(space: SearchSpace, budgets: Sequence[Budget]) -> None:
    """Raise NothingFitsError if no design with BAM is within the budgets."""
    if not budgets:
        return
    over = np.maximum(_least_added(space, budgets) - _slacks(budgets), 0).tolist()
    limits = [max(budget.limit, 1) for budget in budgets]
    # Name the budgets of one design, the one that exceeds them least relative to the limits: the
    # least of each budget alone might not be feasible together.
    least = min(
        over, key=lambda row: sum(Fraction(n, limit) for n, limit in zip(row, limits, strict=True))
    )
    exceeded = [(b, b.limit + n) for b, n in zip(budgets, least, strict=True) if n]
    if exceeded:
        too_small = " and ".join(f"{option_name(b.quantity)} {b.text}" for b, _ in exceeded)
        base = ", ".join(amount_text(b.quantity, b.base) for b, _ in exceeded)
        fits = " ".join(f"{option_name(b.quantity)} {typed_up(b.quantity, n)}" for b, n in exceeded)
        raise NothingFitsError(
            f"no design of {space.summary.model} in space {space.name} is within {too_small}: the "
            f"base alone takes {base}; the smallest feasible budget is {fits}"
        )


def _least_added(space: SearchSpace, budgets: Sequence[Budget]) -> Ints:
    """Added costs of the Pareto-cheapest designs with BAM: (designs, budgets).

    They have one BAM, or BAM at the mandatory sites only.
    """
    costs = _costs(space, [budget.quantity for budget in budgets])
    optional = [choice.options[0].off for choice in space.choices]
    if all(optional):
        return _undominated(np.concatenate([rows[1:] for rows in costs]))
    added = np.zeros((1, len(budgets)), dtype=np.int64)
    for rows, may_be_off in zip(costs, optional, strict=True):  # Minkowski sum, pruned
        if not may_be_off:
            sums = added[:, None, :] + _undominated(rows)
            added = _undominated(sums.reshape(-1, len(budgets)))
    return added


def _undominated(rows: Ints) -> Ints:
    """The Pareto-minimal rows: no other row is below or equal in every column."""
    remaining = np.unique(rows, axis=0)
    minimal = []
    while len(remaining):
        minimal.append(remaining[0])
        remaining = remaining[(remaining < remaining[0]).any(axis=1)]
    return np.array(minimal)
