"""Which designs keep all budgets, and the smallest budgets that one would keep.

What a design costs is a sum over its BAMs, so that the set is known exactly before anything is
built.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bamsearch.errors import NothingFitsError
from bamsearch.records import Budget
from bamsearch.searching.budget import amount_text, option_name, typed_up
from bamsearch.searching.choices import USUAL_DILATION, Picks, SearchSpace
from bamsearch.searching.counted import Counted
from bamsearch.searching.feasible import Feasible, Listed, costs_of

LISTED = 500_000
"""How many feasible designs are listed at the most: a row of bytes each."""


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
