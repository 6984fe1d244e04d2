"""How many designs fit: an exact count by halves, without listing the designs.

The groups of choices (:mod:`bamsearch.search.groups`) go into two halves; each half's multisets
are listed with their cost and how many designs each stands for, and the pairs whose costs fit
together are counted: a count of dominated points, by divide and conquer over the budgets
(Bentley, Multidimensional divide-and-conquer, CACM 1980). Weights are Python integers: 17^33
designs do not fit into 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, log

import numpy as np
from numpy.typing import NDArray

from bamsearch.search.groups import Group

MOST = 250_000
"""How many multisets of a half are listed at the most."""

_FEW = 64

Weights = NDArray[np.object_]
"""Python integers: how many designs each row stands for."""


def count_exactly(
    groups: Sequence[Group], slacks: NDArray[np.int64], most: int = MOST
) -> int | None:
    """The number of designs whose costs add up to at most the slacks.

    Args:
        groups: all choices, each once; the least that a choice adds to any budget is 0.
        slacks: (budgets,) not negative.
        most: how many multisets of a half are listed at the most.

    Returns:
        The exact number; None where a half has more multisets.
    """
    halves = []
    for half in _halves(groups, most):
        listed = _list(half, slacks, most)
        if listed is None:
            return None
        halves.append(listed)
    (costs, weights), (others, other_weights) = halves
    # By the last budget, once: whatever is picked out of them stays in this order.
    order = np.argsort(costs[:, -1])
    return _pairs(costs[order], weights[order], slacks - others, other_weights)


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


def _list(
    groups: Sequence[Group], slacks: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], Weights] | None:
    """The multisets of groups that fit, as costs (rows, budgets) and weights; None if too many."""
    costs = np.zeros((1, len(slacks)), dtype=np.int64)
    weights = np.array([1], dtype=object)
    for group in groups:
        left = np.full(len(costs), len(group.columns))
        # The dearest first, so that what does not fit is gone early; the rest is at the cheapest.
        for level, times in zip(group.levels[:0:-1], group.times[:0:-1].tolist(), strict=True):
            found = []
            for taken in range(len(group.columns) + 1):
                total = costs + taken * level
                rows = np.flatnonzero((left >= taken) & (total <= slacks).all(axis=1))
                ways = _ways(len(group.columns), taken, times)[left[rows]]
                found.append((total[rows], weights[rows] * ways, left[rows] - taken))
            if sum(len(rows) for rows, _, _ in found) > most:
                return None
            costs, weights, left = (np.concatenate(parts) for parts in zip(*found, strict=True))
        total = costs + left[:, None] * group.levels[0]
        rows = np.flatnonzero((total <= slacks).all(axis=1))
        rest = np.array([int(group.times[0]) ** n for n in range(len(group.columns) + 1)], object)
        costs, weights = total[rows], weights[rows] * rest[left[rows]]
    return costs, weights


def _ways(choices: int, taken: int, times: int) -> Weights:
    """By how many choices are left: in how many ways as many as taken are at a level."""
    return np.array([comb(left, taken) * times**taken for left in range(choices + 1)], object)


def _pairs(
    points: NDArray[np.int64], weights: Weights, rooms: NDArray[np.int64], room_weights: Weights
) -> int:
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
    middle = np.partition(points[:, 0], (len(points) - 1) // 2)[(len(points) - 1) // 2]
    low, roomy = points[:, 0] <= middle, rooms[:, 0] >= middle
    # All of the low points keep the first budget in all of the large rooms: one budget fewer.
    total = _pairs(points[low, 1:], weights[low], rooms[roomy, 1:], room_weights[roomy])
    total += _pairs(points[~low], weights[~low], rooms[roomy], room_weights[roomy])
    below = low & (points[:, 0] < middle)
    return total + _pairs(points[below], weights[below], rooms[~roomy], room_weights[~roomy])
