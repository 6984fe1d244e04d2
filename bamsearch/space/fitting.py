"""Determines the feasible set of a space, or the smallest budgets that would make it non-empty."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bamsearch.errors import NothingFitsError
from bamsearch.records import Budget
from bamsearch.space.budget import amount_text, option_name, typed_up
from bamsearch.space.choices import USUAL_DILATION, Encoding, SearchSpace
from bamsearch.space.counted import Counted
from bamsearch.space.feasible import Feasible, Listed, costs_of

LISTED = 500_000
"""Most feasible designs that are listed: each is a row of bytes."""


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
    if table is not None:
        return Listed(space, budgets, table)
    return Counted(space, budgets)


def smallest(space: SearchSpace, budgets: Sequence[Budget]) -> Encoding:
    """The design with BAM that has fewest parameters, among the feasible ones if any is.

    It has one BAM, or BAM at the mandatory sites only.
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

    def size(encoding: Encoding) -> tuple[bool, int, bool]:
        over = any(space.added(encoding, budget.quantity) > budget.slack for budget in budgets)
        usual = any(i.dilation == USUAL_DILATION for i in space.insertions(encoding))
        return over, space.added(encoding, "params"), not usual

    return min(single, key=size)


def _list(space: SearchSpace, budgets: Sequence[Budget], listed: int) -> NDArray[np.int8] | None:
    """All feasible rows of encodings; None if there are more than ``listed``."""
    costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
    slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)
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


def _check_any(space: SearchSpace, budgets: Sequence[Budget]) -> None:
    """Raise NothingFitsError if no design with BAM is within the budgets."""
    if not budgets:
        return
    slacks = np.array([budget.slack for budget in budgets], dtype=np.int64)
    over = np.maximum(_least_added(space, budgets) - slacks, 0).tolist()
    limits = [max(budget.limit, 1) for budget in budgets]
    # Name the budgets of one design, the one that exceeds them least relative to the limits: the
    # least of each budget alone might not be feasible together.
    least = min(
        over, key=lambda row: sum(Fraction(n, limit) for n, limit in zip(row, limits, strict=True))
    )
    if any(least):
        raise NothingFitsError(_smallest_budgets(space, budgets, least))


def _least_added(space: SearchSpace, budgets: Sequence[Budget]) -> NDArray[np.int64]:
    """Added costs of the Pareto-cheapest designs with BAM: (designs, budgets).

    They have one BAM, or BAM at the mandatory sites only.
    """
    costs = [costs_of(space, index, budgets) for index in range(len(space.choices))]
    optional = [choice.options[0].off for choice in space.choices]
    if all(optional):
        return _undominated(np.concatenate([rows[1:] for rows in costs]))
    added = np.zeros((1, len(budgets)), dtype=np.int64)
    for rows, may_be_off in zip(costs, optional, strict=True):  # Minkowski sum, pruned
        if not may_be_off:
            sums = added[:, None, :] + _undominated(rows)
            added = _undominated(sums.reshape(-1, len(budgets)))
    return added


def _undominated(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Pareto-minimal rows: no other row is below or equal in every column."""
    remaining = np.unique(rows, axis=0)
    minimal = []
    while len(remaining):
        minimal.append(remaining[0])
        remaining = remaining[(remaining < remaining[0]).any(axis=1)]
    return np.array(minimal)


def _smallest_budgets(space: SearchSpace, budgets: Sequence[Budget], over: list[int]) -> str:
    """One line with the budgets that are too small, the base's costs, and feasible budgets."""
    exceeded = [
        (budget, budget.limit + missing)
        for budget, missing in zip(budgets, over, strict=True)
        if missing
    ]
    too_small = " and ".join(f"{option_name(b.quantity)} {b.text}" for b, _ in exceeded)
    base = ", ".join(amount_text(b.quantity, b.base) for b, _ in exceeded)
    feasible_budgets = " ".join(
        f"{option_name(b.quantity)} {typed_up(b.quantity, n)}" for b, n in exceeded
    )
    return (
        f"no design of {space.summary.model} in space {space.name} is within {too_small}: the base "
        f"alone takes {base}; the smallest feasible budget is {feasible_budgets}"
    )
