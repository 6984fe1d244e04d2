"""Exact counting and optimisation over the feasible set by meet in the middle.

The groups of choices (:mod:`bamsearch.space.groups`) are split into two halves, whose multisets
are listed with their costs c and their numbers of designs (weights). A design is a pair of rows, a
point p = c of the first half and a room q = slacks - c of the second, and is feasible if p <= q in
every budget. Feasible pairs are counted, or the best is found, by divide and conquer over the
budgets (Bentley, Multidimensional divide-and-conquer, CACM 1980). Weights are Python integers,
because 17^33 does not fit into 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log

import numpy as np
from numpy.typing import NDArray

from bamsearch.space.groups import Group

MOST = 250_000
"""Most multisets of a half that are listed."""

_FEW = 64  # points and rooms up to which all pairs are compared
# A worth and its row number share one integer, so that a maximum carries its row.
_ROWS = 1 << 20

Ints = NDArray[np.int64]
Weights = NDArray[np.object_]
"""Numbers of designs of each row, as Python integers."""


@dataclass(frozen=True, eq=False)
class Half:
    """The multisets of some groups that are feasible alone.

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


Halves = tuple[Half, Half]


def list_halves(groups: Sequence[Group], slacks: Ints, most: int = MOST) -> Halves | None:
    """List the multisets of both halves.

    Args:
        groups: groups with each choice once; the least cost of a choice is 0 in every column.
        slacks: budgets above the base, not negative, (columns,).
        most: most multisets of a half.

    Returns:
        Both halves, or None if one has more multisets.
    """
    first, second = (_list(half, slacks, most) for half in _halves(groups, most))
    return None if first is None or second is None else (first, second)


def count_designs(halves: Halves, slacks: Ints) -> int:
    """The exact number of feasible designs."""
    first, second = halves
    # Sorted by the last budget once: every subset stays sorted.
    order = np.argsort(first.costs[:, -1])
    points, weights = first.costs[order], first.weights[order]
    return _count(points, weights, slacks - second.costs, second.weights)


def most_worth(halves: Halves, slacks: Ints) -> list[tuple[Group, Ints]]:
    """The level counts of the feasible design with the greatest worth, exactly.

    Args:
        halves: halves whose last cost column is the worth.
        slacks: slacks of the other columns; at least one pair is feasible.

    Returns:
        Every group with the number of its choices at each of its levels.
    """
    first, second = halves
    order = np.argsort(first.costs[:, -2])
    points, rooms = first.costs[order, :-1], slacks - second.costs[:, :-1]
    worth = first.costs[order, -1] * _ROWS + order
    room_worth = second.costs[:, -1] * _ROWS + np.arange(len(rooms))
    _, row, room_row = _best(points, worth, rooms, room_worth, (-1, 0, 0))
    level_counts = []
    for half, number in ((first, row), (second, room_row)):
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


def _list(groups: Sequence[Group], slacks: Ints, most: int) -> Half | None:
    """The multisets of the groups that are feasible alone; None if there are too many."""
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
    return Half(tuple(reversed(groups)), costs, weights, counts)


def _count(points: Ints, weights: Weights, rooms: Ints, room_weights: Weights) -> int:
    """The sum of products of weights over all pairs with point <= room in every column.

    The points are sorted by the last column.
    """
    if not len(points) or not len(rooms):
        return 0
    if points.shape[1] == 1:
        sums = np.concatenate([np.zeros(1, object), np.cumsum(weights)])
        fitting = np.searchsorted(points[:, 0], rooms[:, 0], side="right")
        return int(np.dot(sums[fitting], room_weights))
    if len(points) <= _FEW and len(rooms) <= _FEW:
        point, room = np.nonzero((points[:, None] <= rooms).all(axis=2))
        return int(sum(weights[point] * room_weights[room]))
    below, low, roomy = _split(points, rooms)
    # Every low point is within the first budget of every large room: drop that budget.
    total = _count(points[low, 1:], weights[low], rooms[roomy, 1:], room_weights[roomy])
    total += _count(points[~low], weights[~low], rooms[roomy], room_weights[roomy])
    return total + _count(points[below], weights[below], rooms[~roomy], room_weights[~roomy])


def _best(
    points: Ints, worth: Ints, rooms: Ints, room_worth: Ints, incumbent: tuple[int, int, int]
) -> tuple[int, int, int]:
    """The greatest worth of a pair with point <= room in every column, and both rows.

    Args:
        points: points, sorted by the last column.
        worth: worths of the points, with their rows.
        rooms: rooms.
        room_worth: worths of the rooms, with their rows.
        incumbent: best pair so far; branches that cannot beat it are pruned.
    """
    if not len(points) or not len(rooms):
        return incumbent
    if worth.max() // _ROWS + room_worth.max() // _ROWS <= incumbent[0]:
        return incumbent
    if points.shape[1] == 1:
        fitting = np.searchsorted(points[:, 0], rooms[:, 0], side="right")
        usable = np.flatnonzero(fitting)
        pairs = np.maximum.accumulate(worth)[fitting[usable] - 1], room_worth[usable]
    elif len(points) <= _FEW and len(rooms) <= _FEW:
        point, room = np.nonzero((points[:, None] <= rooms).all(axis=2))
        pairs = worth[point], room_worth[room]
    else:
        below, low, roomy = _split(points, rooms)
        incumbent = _best(
            points[low, 1:], worth[low], rooms[roomy, 1:], room_worth[roomy], incumbent
        )
        incumbent = _best(points[~low], worth[~low], rooms[roomy], room_worth[roomy], incumbent)
        return _best(points[below], worth[below], rooms[~roomy], room_worth[~roomy], incumbent)
    if not len(pairs[0]):
        return incumbent
    sums = pairs[0] // _ROWS + pairs[1] // _ROWS
    best = sums.argmax()
    return max(
        incumbent, (int(sums[best]), int(pairs[0][best] % _ROWS), int(pairs[1][best] % _ROWS))
    )


def _split(
    points: Ints, rooms: Ints
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks: points below the first column's median, points up to it, and rooms of at least it."""
    half = (len(points) - 1) // 2
    middle = np.partition(points[:, 0], half)[half]
    return points[:, 0] < middle, points[:, 0] <= middle, rooms[:, 0] >= middle
