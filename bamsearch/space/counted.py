"""The feasible set of a space too large to list: counts, draws, and its largest design.

Nothing here enumerates designs: their cost depends only on the number of choices of each group at
each cost level (:mod:`bamsearch.space.groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from bamsearch.records import Budget
from bamsearch.space.choices import USUAL_DILATION, Encoding, SearchSpace
from bamsearch.space.draws import UniformDraws
from bamsearch.space.feasible import Feasible
from bamsearch.space.groups import Group, groups_of
from bamsearch.space.halves import count_designs, list_halves, most_worth


class Counted(Feasible):
    """A feasible set of more designs than can be listed.

    Args:
        space: the space.
        budgets: budgets; at least one design is feasible.
    """

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

    def sample(self, rng: np.random.Generator, number: int) -> NDArray[np.int8]:
        """See :meth:`Feasible.sample`."""
        return self._draws.draw(rng, number)

    def largest(self) -> Encoding:
        """See :meth:`Feasible.largest`."""
        params = [
            np.array([option.params for option in choice.options], dtype=np.int64)
            for choice in self.space.choices
        ]
        groups = groups_of(
            [np.column_stack(columns) for columns in zip(self._above, params, strict=True)]
        )
        encoding = np.zeros(len(self.space.choices), dtype=np.int64)
        for group, taken in _most_params(groups, self._slacks):
            levels = np.repeat(np.arange(len(taken)), taken)
            for member, (column, level) in enumerate(zip(group.columns, levels, strict=True)):
                start = group.starts[level]
                equal = group.order[member, start : start + group.times[level]]
                encoding[column] = self._preferred(int(column), sorted(equal.tolist()))
        return tuple(int(number) for number in encoding)

    def _preferred(self, column: int, numbers: Sequence[int]) -> int:
        """Among options of equal cost, one with the paper's dilation, else the first."""
        options = self.space.choices[column].options
        usual = (n for n in numbers if options[n].dilation == USUAL_DILATION)
        return next(usual, numbers[0])


def _above_least(
    costs: Sequence[NDArray[np.int64]], slacks: NDArray[np.int64]
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
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


def _most_params(
    groups: Sequence[Group], slacks: NDArray[np.int64]
) -> list[tuple[Group, NDArray[np.int64]]]:
    """The level counts of the feasible design with most parameters, exactly.

    By halves if they can be listed, because an integer solver is slow to prove that a parameter
    budget cannot be met more closely. Else by an integer programme over the level counts. Its
    solver uses floating point, so solutions are checked in integers, and excluded if infeasible.

    Args:
        groups: groups by costs, with parameters in the last column of the levels.
        slacks: slacks of the budgets, (budgets,).
    """
    most = sum(len(group.columns) * int(group.levels[:, -1].max()) for group in groups)
    halves = list_halves(groups, np.append(slacks, most))
    return _programme(groups, slacks) if halves is None else most_worth(halves, slacks)


def _programme(
    groups: Sequence[Group], slacks: NDArray[np.int64]
) -> list[tuple[Group, NDArray[np.int64]]]:
    levels = np.concatenate([group.levels for group in groups])
    owner = np.repeat(np.arange(len(groups)), [len(group.levels) for group in groups])
    sizes = np.array([len(group.columns) for group in groups])
    rules = [
        LinearConstraint(np.equal.outer(np.arange(len(groups)), owner), sizes, sizes),
        LinearConstraint(levels[:, :-1].T, -np.inf, slacks),
    ]
    excluded: list[NDArray[np.int64]] = []
    while True:
        counts = _solve(levels[:, -1], sizes[owner], rules, excluded)
        if (counts @ levels[:, :-1] <= slacks).all():
            each = np.split(counts, np.flatnonzero(np.diff(owner)) + 1)
            return list(zip(groups, each, strict=True))
        excluded.append(counts)


def _solve(
    worth: NDArray[np.int64],
    most: NDArray[np.int64],
    rules: Sequence[LinearConstraint],
    excluded: Sequence[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Maximise worth . n over integers 0 <= n <= most under the rules, without excluded points."""
    size, width = len(worth), len(worth) * (1 + len(excluded))
    rules = [LinearConstraint(_widened(rule.A, width), rule.lb, rule.ub) for rule in rules]
    for number, point in enumerate(excluded, start=1):
        # Counts have fixed sums, so another solution exceeds the point somewhere. Binaries z mark
        # where: n_i >= (point_i + 1) z_i, sum z >= 1.
        larger = np.zeros((size + 1, width))
        binaries = np.arange(number * size, (number + 1) * size)
        larger[np.arange(size), np.arange(size)] = 1
        larger[np.arange(size), binaries] = -(point + 1)
        larger[size, binaries] = 1
        rules.append(LinearConstraint(larger, [*np.zeros(size), 1], np.inf))
    solution = milp(
        -_widened(worth, width),
        integrality=np.ones(width),
        bounds=Bounds(0, np.concatenate([most, np.ones(width - size)])),
        constraints=rules,
        options={"mip_rel_gap": 0},
    )
    counts: NDArray[np.int64] = np.rint(solution.x[:size]).astype(np.int64)
    return counts


def _widened(matrix: NDArray[np.generic], width: int) -> NDArray[np.float64]:
    """The matrix, padded with zero columns to a width."""
    missing = width - matrix.shape[-1]
    return np.pad(matrix.astype(float), [*[(0, 0)] * (matrix.ndim - 1), (0, missing)])
