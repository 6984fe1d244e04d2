"""Exact counting of feasible designs, and the largest, in spaces too large to list.

Options of equal cost form a level; choices with the same levels, and as many options at each,
form a group. The cost of a design depends only on how many choices of each group are at each level,
and a group of n choices with L levels has C(n + L - 1, L - 1) such multisets: the 22 blocks of one
stage of resnet101 have 17^22 designs, but at most 14,950 different costs.

The groups are split into two halves, whose multisets are listed with their costs c and their
numbers of designs (weights). A design is a pair of rows, a point p = c of the first half and a room
q = slacks - c of the second, and is feasible if p <= q in every budget. Feasible pairs are counted,
or the best is found, by divide and conquer over the budgets (Bentley, Multidimensional
divide-and-conquer, CACM 1980). Weights are Python integers, because 17^33 does not fit into 64
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import comb, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

MOST = 250_000
"""Most multisets of a half that are listed."""

_FEW = 64  # points and rooms up to which all pairs are compared
# A worth and its row number share one integer, so that a maximum carries its row.
_ROWS = 1 << 20

Ints = NDArray[np.int64]
Weights = NDArray[np.object_]
"""Numbers of designs of each row, as Python integers."""


@dataclass(frozen=True, eq=False)
class Group:
    """Choices whose options have the same costs.

    Attributes:
        columns: indices of the choices, (n,).
        levels: distinct costs in lexical order, (L, budgets).
        times: number of options at each level, (L,).
        starts: index in a row of ``order`` where each level starts, (L,).
        order: option numbers of each choice, sorted by level, (n, options).
    """

    columns: NDArray[np.intp]
    levels: Ints
    times: Ints
    starts: NDArray[np.intp]
    order: NDArray[np.int8]

    @property
    def multisets(self) -> int:
        """Number of multisets of levels: C(n + L - 1, L - 1)."""
        return comb(len(self.columns) + len(self.levels) - 1, len(self.levels) - 1)

    def split(self, size: int) -> list[Group]:
        """The group in parts of at most ``size`` choices."""
        parts = [slice(start, start + size) for start in range(0, len(self.columns), size)]
        return [replace(self, columns=self.columns[p], order=self.order[p]) for p in parts]

    def arrange(self, counts: Ints, rng: np.random.Generator) -> NDArray[np.int8]:
        """Draw options uniformly, subject to the level counts.

        Args:
            counts: number of choices at each level, (number, L).
            rng: random generator.

        Returns:
            Option numbers, (number, n).
        """
        choices = np.arange(len(self.columns))
        ends = np.cumsum(counts, axis=1)
        level = rng.permuted((choices[None, :, None] >= ends[:, None, :]).sum(axis=2), axis=1)
        index = self.starts[level] + rng.integers(self.times[level])
        drawn: NDArray[np.int8] = self.order[choices, index]
        return drawn


def groups_of(costs: Iterable[Ints]) -> list[Group]:
    """Group the choices by their costs.

    Args:
        costs: added costs of the options of each choice, (options, budgets); at least one budget.
    """
    by_costs: dict[tuple[tuple[int, ...], ...], list[tuple[int, NDArray[np.intp]]]] = {}
    for column, rows in enumerate(costs):
        order = np.lexsort(rows.T[::-1])
        key = tuple(map(tuple, rows[order].tolist()))
        by_costs.setdefault(key, []).append((column, order))
    groups = []
    for key, members in by_costs.items():
        levels, starts, times = np.unique(
            np.array(key, dtype=np.int64), axis=0, return_index=True, return_counts=True
        )
        columns = np.array([column for column, _ in members])
        orders = np.array([order for _, order in members]).astype(np.int8)
        groups.append(Group(columns, levels, times, starts, orders))
    return groups


@dataclass(frozen=True, eq=False)
class Multisets:
    """The multisets of levels of some groups that are feasible alone.

    Attributes:
        groups: the groups.
        costs: costs, (rows, columns of the groups' levels).
        weights: numbers of designs, (rows,).
        counts: numbers of choices at each level, group by group, (rows, levels).
    """

    groups: tuple[Group, ...]
    costs: Ints
    weights: Weights
    counts: NDArray[np.int16]


def list_multisets(groups: Sequence[Group], slacks: Ints, most: int = MOST) -> Multisets | None:
    """The multisets of the groups that are feasible alone; None if there are more than ``most``."""
    costs = np.zeros((1, len(slacks)), dtype=np.int64)
    weights = np.array([1], dtype=object)
    counts = np.zeros((1, 0), dtype=np.int16)
    for group in groups:
        size = len(group.columns)
        free = np.full(len(costs), size)  # choices of the group without a level
        # The most expensive level first, to prune early; the last level takes all free choices.
        for number in reversed(range(len(group.levels))):
            level, times = group.levels[number], int(group.times[number])
            parts = []
            for taken in range(size + 1):
                total = costs + taken * level
                enough = free >= taken if number else free == taken
                rows = np.flatnonzero(enough & (total <= slacks).all(axis=1))
                ways = np.array([comb(n, taken) * times**taken for n in range(size + 1)], object)
                extended = np.insert(counts[rows], 0, taken, axis=1)
                parts.append(
                    (total[rows], weights[rows] * ways[free[rows]], extended, free[rows] - taken)
                )
            if sum(len(rows) for rows, *_ in parts) > most:
                return None
            costs, weights, counts, free = map(np.concatenate, zip(*parts, strict=True))
    # Levels, and so groups, were prepended.
    return Multisets(tuple(reversed(groups)), costs, weights, counts)


Halves = tuple[Multisets, Multisets]


def list_halves(groups: Sequence[Group], slacks: Ints, most: int = MOST) -> Halves | None:
    """List the multisets of both halves.

    Args:
        groups: groups with each choice once; the least cost of a choice is 0 in every column.
        slacks: budgets above the base, not negative, (columns,).
        most: most multisets of a half.

    Returns:
        Both halves, or None if one has more multisets.
    """
    first, second = (list_multisets(half, slacks, most) for half in _halves(groups, most))
    return None if first is None or second is None else (first, second)


def count_designs(halves: Halves, slacks: Ints) -> int:
    """The exact number of feasible designs."""
    first, second = halves
    # Sorted by the last budget once: every subset stays sorted.
    order = np.argsort(first.costs[:, -1])
    points, weights = first.costs[order], first.weights[order]
    rooms = slacks - second.costs
    pairs = _pairs(points, weights, rooms, second.weights, np.add, lambda *_: True)
    return sum(int((weight * room_weight).sum()) for weight, room_weight in pairs)


def most_params(groups: Sequence[Group], slacks: Ints) -> list[tuple[Group, Ints]]:
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
    return _programme(groups, slacks) if halves is None else _most_worth(halves, slacks)


def _most_worth(halves: Halves, slacks: Ints) -> list[tuple[Group, Ints]]:
    """The level counts of the feasible design with the greatest worth, the halves' last column."""
    first, second = halves
    order = np.argsort(first.costs[:, -2])
    worth = first.costs[order, -1] * _ROWS + order
    room_worth = second.costs[:, -1] * _ROWS + np.arange(len(second.costs))
    best = (-1, 0, 0)  # worth, row of the first half, row of the second

    def promising(worth: Ints, room_worth: Ints) -> bool:
        return int(worth.max() // _ROWS + room_worth.max() // _ROWS) > best[0]

    points, rooms = first.costs[order, :-1], slacks - second.costs[:, :-1]
    for a, b in _pairs(points, worth, rooms, room_worth, np.maximum, promising):
        if len(a):
            sums = a // _ROWS + b // _ROWS
            at = sums.argmax()
            best = max(best, (int(sums[at]), int(a[at] % _ROWS), int(b[at] % _ROWS)))
    level_counts = []
    for half, number in zip(halves, best[1:], strict=True):
        counts = half.counts[number].astype(np.int64)
        for group in half.groups:
            level_counts.append((group, counts[: len(group.levels)]))
            counts = counts[len(group.levels) :]
    return level_counts


def _halves(groups: Sequence[Group], most: int) -> tuple[list[Group], list[Group]]:
    """The groups in two halves with similar numbers of multisets, the largest placed first."""
    parts: list[Group] = []
    pending = list(groups)
    while pending:
        group = pending.pop()
        size = len(group.columns)
        if group.multisets > most and size > 1:
            pending += group.split((size + 1) // 2)
        else:
            parts.append(group)
    halves: tuple[list[Group], list[Group]] = ([], [])
    sizes = [0.0, 0.0]
    for group in sorted(parts, key=lambda group: -group.multisets):
        side = int(sizes[1] < sizes[0])
        halves[side].append(group)
        sizes[side] += log(group.multisets)
    return halves


def _pairs(
    points: Ints,
    values: NDArray[Any],
    rooms: Ints,
    room_values: NDArray[Any],
    total: np.ufunc,
    promising: Callable[[NDArray[Any], NDArray[Any]], bool],
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Values of all pairs with point <= room in every column; points may be totalled per room.

    Args:
        points: points, sorted by the last column.
        values: values of the points.
        rooms: rooms.
        room_values: values of the rooms.
        total: totals the values of the points that fit into one room.
        promising: whether any pair of these points and rooms is wanted.

    Yields:
        Values, or their totals, and the values of their rooms.
    """
    if not len(points) or not len(rooms) or not promising(values, room_values):
        return
    if points.shape[1] == 1:
        fitting = np.searchsorted(points[:, 0], rooms[:, 0], side="right")
        usable = np.flatnonzero(fitting)
        yield total.accumulate(values)[fitting[usable] - 1], room_values[usable]
    elif len(points) <= _FEW and len(rooms) <= _FEW:
        point, room = np.nonzero((points[:, None] <= rooms).all(axis=2))
        yield values[point], room_values[room]
    else:
        half = (len(points) - 1) // 2
        middle = np.partition(points[:, 0], half)[half]
        low, below, roomy = points[:, 0] <= middle, points[:, 0] < middle, rooms[:, 0] >= middle
        # Every low point is within the first budget of every large room: drop that budget.
        for p, r, column in ((low, roomy, 1), (~low, roomy, 0), (below, ~roomy, 0)):
            parts = points[p, column:], values[p], rooms[r, column:], room_values[r]
            yield from _pairs(*parts, total, promising)


def _programme(groups: Sequence[Group], slacks: Ints) -> list[tuple[Group, Ints]]:
    levels = np.concatenate([group.levels for group in groups])
    owner = np.repeat(np.arange(len(groups)), [len(group.levels) for group in groups])
    sizes = np.array([len(group.columns) for group in groups])
    rules = [
        LinearConstraint(np.equal.outer(np.arange(len(groups)), owner), sizes, sizes),
        LinearConstraint(levels[:, :-1].T, -np.inf, slacks),
    ]
    excluded: list[Ints] = []
    while True:
        counts = _solve(levels[:, -1], sizes[owner], rules, excluded)
        if (counts @ levels[:, :-1] <= slacks).all():
            each = np.split(counts, np.flatnonzero(np.diff(owner)) + 1)
            return list(zip(groups, each, strict=True))
        excluded.append(counts)


def _solve(
    worth: Ints, most: Ints, rules: Sequence[LinearConstraint], excluded: Sequence[Ints]
) -> Ints:
    """Maximise worth . n over integers 0 <= n <= most under the rules, without excluded points."""
    size, binaries = len(worth), len(worth) * len(excluded)
    rules = [
        LinearConstraint(np.pad(rule.A.astype(float), ((0, 0), (0, binaries))), rule.lb, rule.ub)
        for rule in rules
    ]
    for number, point in enumerate(excluded, start=1):
        # Counts have fixed sums, so another solution exceeds the point somewhere. Binaries z mark
        # where: n_i >= (point_i + 1) z_i, sum z >= 1.
        larger = np.zeros((size + 1, size + binaries))
        larger[:size, :size] = np.eye(size)
        larger[:size, number * size : (number + 1) * size] = np.diag(-(point + 1))
        larger[size, number * size : (number + 1) * size] = 1
        rules.append(LinearConstraint(larger, [*np.zeros(size), 1], np.inf))
    solution = milp(
        np.pad(-worth.astype(float), (0, binaries)),
        integrality=np.ones(size + binaries),
        bounds=Bounds(0, np.pad(most, (0, binaries), constant_values=1)),
        constraints=rules,
        options={"mip_rel_gap": 0},
    )
    counts: Ints = np.rint(solution.x[:size]).astype(np.int64)
    return counts
