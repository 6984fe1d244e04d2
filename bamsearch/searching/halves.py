"""What two halves of a space make together: how many designs fit, and which is worth most.

The groups of choices (:mod:`bamsearch.searching.groups`) go into two halves, whose multisets are
listed with their costs and with how many designs each stands for. The pairs whose costs fit
together are then counted, or the best of them found, by divide and conquer over the budgets
(Bentley, Multidimensional divide-and-conquer, CACM 1980). Numbers of designs are Python integers:
17^33 does not fit into 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, log

import numpy as np
from numpy.typing import NDArray

from bamsearch.searching.groups import Group

MOST = 250_000
"""How many multisets of a half are listed at the most."""

_FEW = 64
# A worth and the number of its row in one integer, so that the largest comes with its row.
_ROWS = 1 << 20

Ints = NDArray[np.int64]
Weights = NDArray[np.object_]
"""Python integers: how many designs each row stands for."""


@dataclass(frozen=True, eq=False)
class Half:
    """The multisets of some groups that fit.

    Attributes:
        groups: the groups.
        costs: (rows, columns of the groups' levels).
        weights: (rows,) how many designs.
        counts: (rows, levels) choices at each level, of one group after another.
    """

    groups: tuple[Group, ...]
    costs: Ints
    weights: Weights
    counts: NDArray[np.int16]


Halves = tuple[Half, Half]


def list_halves(groups: Sequence[Group], slacks: Ints, most: int = MOST) -> Halves | None:
    """Both halves of the groups.

    Args:
        groups: all choices, each once; the least that a choice adds to any column is 0.
        slacks: (columns,) not negative.
        most: how many multisets of a half are listed at the most.

    Returns:
        None where a half has more.
    """
    one, other = (_list(half, slacks, most) for half in _halves(groups, most))
    return None if one is None or other is None else (one, other)


def count_designs(halves: Halves, slacks: Ints) -> int:
    """The number of designs whose costs add up to at most the slacks, exactly."""
    one, other = halves
    # By the last budget, once: whatever is picked out of them stays in this order.
    order = np.argsort(one.costs[:, -1])
    points, weights = one.costs[order], one.weights[order]
    return _count(points, weights, slacks - other.costs, other.weights)


def most_worth(halves: Halves, slacks: Ints) -> list[tuple[Group, Ints]]:
    """How many choices of each group are at each level where most is gained, exactly.

    Args:
        halves: with what is gained in the last column of the costs.
        slacks: of the other columns; at least one pair fits.

    Returns:
        Every group, and the number of its choices at each of its levels.
    """
    one, other = halves
    order = np.argsort(one.costs[:, -2])
    points, rooms = one.costs[order, :-1], slacks - other.costs[:, :-1]
    worth = one.costs[order, -1] * _ROWS + order
    room_worth = other.costs[:, -1] * _ROWS + np.arange(len(rooms))
    _, row, other_row = _best(points, worth, rooms, room_worth, (-1, 0, 0))
    found = []
    for half, number in ((one, row), (other, other_row)):
        counts = half.counts[number].astype(np.int64)
        for group in half.groups:
            found.append((group, counts[: len(group.levels)]))
            counts = counts[len(group.levels) :]
    return found


def _halves(groups: Sequence[Group], most: int) -> tuple[list[Group], list[Group]]:
    """The groups in two halves with about as many multisets, the largest group placed first."""
    parts: list[Group] = []
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        size = len(group.columns)
        if group.multisets > most and size > 1:
            waiting += group.split((size + 1) // 2)
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
    """The multisets of groups that fit; None if there are too many."""
    costs = np.zeros((1, len(slacks)), dtype=np.int64)
    weights = np.array([1], dtype=object)
    counts = np.zeros((1, 0), dtype=np.int16)
    for group in groups:
        size = len(group.columns)
        left = np.full(len(costs), size)
        # The dearest first, so that what does not fit is gone early; the rest is at the cheapest.
        for number in reversed(range(len(group.levels))):
            level, times = group.levels[number], int(group.times[number])
            found = []
            for taken in range(size + 1):
                total = costs + taken * level
                enough = left >= taken if number else left == taken
                rows = np.flatnonzero(enough & (total <= slacks).all(axis=1))
                ways = np.array([comb(n, taken) * times**taken for n in range(size + 1)], object)
                here = np.insert(counts[rows], 0, taken, axis=1)
                found.append(
                    (total[rows], weights[rows] * ways[left[rows]], here, left[rows] - taken)
                )
            if sum(len(rows) for rows, *_ in found) > most:
                return None
            costs, weights, counts, left = map(np.concatenate, zip(*found, strict=True))
    # The levels were put in front of one another, and so were the groups.
    return Half(tuple(reversed(groups)), costs, weights, counts)


def _count(points: Ints, weights: Weights, rooms: Ints, room_weights: Weights) -> int:
    """The sum over pairs with point <= room in every column of the product of their weights.

    The points are in order of the last column.
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
    # All of the low points keep the first budget in all of the large rooms: one budget fewer.
    total = _count(points[low, 1:], weights[low], rooms[roomy, 1:], room_weights[roomy])
    total += _count(points[~low], weights[~low], rooms[roomy], room_weights[roomy])
    return total + _count(points[below], weights[below], rooms[~roomy], room_weights[~roomy])


def _best(
    points: Ints, worth: Ints, rooms: Ints, room_worth: Ints, known: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Of pairs with point <= room in every column, the one worth most: that, and both rows.

    Args:
        points: in order of the last column.
        worth: of the points, each with its row.
        rooms: what the points must fit into.
        room_worth: of the rooms, each with its row.
        known: the best so far.
    """
    if not len(points) or not len(rooms):
        return known
    if worth.max() // _ROWS + room_worth.max() // _ROWS <= known[0]:
        return known
    if points.shape[1] == 1:
        fitting = np.searchsorted(points[:, 0], rooms[:, 0], side="right")
        rooms_left = np.flatnonzero(fitting)
        pairs = np.maximum.accumulate(worth)[fitting[rooms_left] - 1], room_worth[rooms_left]
    elif len(points) <= _FEW and len(rooms) <= _FEW:
        point, room = np.nonzero((points[:, None] <= rooms).all(axis=2))
        pairs = worth[point], room_worth[room]
    else:
        below, low, roomy = _split(points, rooms)
        known = _best(points[low, 1:], worth[low], rooms[roomy, 1:], room_worth[roomy], known)
        known = _best(points[~low], worth[~low], rooms[roomy], room_worth[roomy], known)
        return _best(points[below], worth[below], rooms[~roomy], room_worth[~roomy], known)
    if not len(pairs[0]):
        return known
    sums = pairs[0] // _ROWS + pairs[1] // _ROWS
    best = sums.argmax()
    return max(known, (int(sums[best]), int(pairs[0][best] % _ROWS), int(pairs[1][best] % _ROWS)))


def _split(
    points: Ints, rooms: Ints
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Points below the median of the first column, those up to it, and rooms of at least it."""
    half = (len(points) - 1) // 2
    middle = np.partition(points[:, 0], half)[half]
    return points[:, 0] < middle, points[:, 0] <= middle, rooms[:, 0] >= middle
