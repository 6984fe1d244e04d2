"""Uniform draws from feasible sets too large to list: a grid, then rejection.

Notation: step t chooses the options of one part of a group; b is the remaining budget, a vector of
grid cells; a_t(b) is the probability that uniform choices at steps t, t + 1, … stay within b::

    a_t(b) = sum over multisets m of step t of  P(m) a_{t+1}(b - cells(m))

Costs are rounded down to a grid, so the tables a_t are small. Drawing m with probability
proportional to P(m) a_{t+1}(b - cells(m)), step after step, is uniform among the designs that fit
on the grid. Every feasible design fits on the grid, so rejecting draws that exceed a budget in
exact integers leaves uniform draws from the feasible set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

import numpy as np
from numpy.typing import NDArray

from bamsearch.space.counting import Group, Ints, list_multisets

_CELLS = 65_536  # most cells of the grid, over all budgets: the size of a table
_MULTISETS = 100  # most multisets of a step
_BATCH = 4096
# Proposals from which a count is estimated.
_ESTIMATE = 5 * _BATCH

Table = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class _Step:
    """A part of a group, whose choices are drawn together.

    Attributes:
        group: part of the group.
        counts: multisets that are feasible alone, as level counts: (multisets, L).
        cells: costs of the multisets in grid cells: (multisets, budgets).
        chances: P(m), proportional to the number of designs of each multiset: (multisets,).
        after: a_{t+1}, by remaining cells.
    """

    group: Group
    counts: Ints
    cells: Ints
    chances: NDArray[np.float64]
    after: NDArray[np.float64]


class UniformDraws:
    """Draws feasible designs uniformly.

    Args:
        groups: groups with each choice once; the least cost of a choice is 0 for every budget.
        slacks: budgets above the base, not negative, (budgets,); at least one design is feasible.
        fits: exact test of rows of encodings.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        slacks: Ints,
        fits: Callable[[Table], NDArray[np.bool_]],
    ) -> None:
        self.choices = sum(len(group.columns) for group in groups)
        self._fits = fits
        budgets = len(slacks)
        # A grid no finer than the costs is exact.
        self._grid = np.minimum(int(_CELLS ** (1 / budgets)), np.maximum(slacks, 1))
        self._strides = np.cumprod([1, *(self._grid + 1)[:0:-1]])[::-1]
        self._steps: list[_Step] = []
        after = np.ones(self._grid + 1)
        for group in reversed([part for g in groups for part in g.split(_size(g))]):
            step = self._step(group, slacks, after)
            self._steps.insert(0, step)
            after = _before(step)
        self._chance = float(after[tuple(self._grid)])
        self._accepted = self._share(_BATCH // 8)

    def estimate(self, designs: int) -> int:
        """Estimate the number of feasible designs among ``designs``; at least 1.

        The relative standard error is below 1% if at least a third of the proposals are feasible.
        """
        fitting = Fraction(self._chance) * Fraction(self._share(_ESTIMATE))
        return min(max(round(designs * fitting), 1), designs)

    def draw(self, rng: np.random.Generator, number: int) -> Table:
        """Draw feasible designs with replacement: (number, choices)."""
        parts = [np.zeros((0, self.choices), dtype=np.int8)]
        missing = number
        while missing > 0:
            drawn = self._proposals(rng, min(_BATCH, int(1.1 * missing / self._accepted) + 8))
            fitting = drawn[self._fits(drawn)]
            parts.append(fitting)
            missing -= len(fitting)
        return np.concatenate(parts)[:number]

    def _proposals(self, rng: np.random.Generator, number: int) -> Table:
        """Uniform draws of designs that fit on the grid: (number, choices)."""
        drawn = np.zeros((number, self.choices), dtype=np.int8)
        budget = np.tile(self._grid, (number, 1))
        for step in self._steps:
            rest = budget[:, None, :] - step.cells
            fits = (rest >= 0).all(axis=2)
            chances = step.chances * step.after.ravel()[np.where(fits, rest @ self._strides, 0)]
            sums = np.cumsum(np.where(fits, chances, 0), axis=1)
            threshold = rng.random(number) * sums[:, -1]
            row = (sums > threshold[:, None]).argmax(axis=1)
            drawn[:, step.group.columns] = step.group.arrange(step.counts[row], rng)
            budget -= step.cells[row]
        return drawn

    def _share(self, number: int) -> float:
        """The share of feasible designs among a number of proposals, with a fixed seed."""
        rng = np.random.default_rng(0)
        sizes = [min(_BATCH, number - done) for done in range(0, number, _BATCH)]
        fitting = sum(int(self._fits(self._proposals(rng, size)).sum()) for size in sizes)
        return max(fitting, 1) / number

    def _step(self, group: Group, slacks: Ints, after: NDArray[np.float64]) -> _Step:
        multisets = list_multisets([group], slacks)
        assert multisets is not None  # a step has few
        order = np.lexsort(multisets.counts.T[::-1])
        chances = multisets.weights[order] / int(group.times.sum()) ** len(group.columns)
        cells = multisets.costs[order] * self._grid // np.maximum(slacks, 1)
        counts = multisets.counts[order].astype(np.int64)
        return _Step(group, counts, cells, chances.astype(float), after)


def _size(group: Group) -> int:
    """Number of choices of a group in one step: larger steps lose less to rounding."""
    levels = len(group.levels)
    sizes = range(2, len(group.columns) + 1)
    return max((n for n in sizes if comb(n + levels - 1, n) <= _MULTISETS), default=1)


def _before(step: _Step) -> NDArray[np.float64]:
    """The table a_t, from a_{t+1} and the multisets of step t."""
    table = np.zeros_like(step.after)
    for cells, chance in zip(step.cells.tolist(), step.chances.tolist(), strict=True):
        before = tuple(slice(cost, None) for cost in cells)
        after = tuple(slice(0, size - cost) for cost, size in zip(cells, table.shape, strict=True))
        table[before] += chance * step.after[after]
    return table
