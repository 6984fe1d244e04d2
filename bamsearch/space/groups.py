"""Groups of choices with equal costs, whose designs are counted as multisets of cost levels.

Options of equal cost form a level; choices with the same levels, and as many options at each,
form a group. The cost of a design depends only on how many choices of each group are at each level,
and a group of n choices with L levels has C(n + L - 1, L - 1) such multisets: the 22 blocks of one
stage of resnet101 have 17^22 designs, but at most 14,950 different costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb

import numpy as np
from numpy.typing import NDArray


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
    levels: NDArray[np.int64]
    times: NDArray[np.int64]
    starts: NDArray[np.intp]
    order: NDArray[np.int8]

    @property
    def multisets(self) -> int:
        """Number of multisets of levels: C(n + L - 1, L - 1)."""
        return comb(len(self.columns) + len(self.levels) - 1, len(self.levels) - 1)

    def split(self, size: int) -> list[Group]:
        """The group in parts of at most ``size`` choices."""
        return [
            Group(
                self.columns[start : start + size],
                self.levels,
                self.times,
                self.starts,
                self.order[start : start + size],
            )
            for start in range(0, len(self.columns), size)
        ]

    def level_counts(self) -> NDArray[np.int64]:
        """All multisets, as numbers of choices at each level: (multisets, L)."""
        choices, levels = len(self.columns), len(self.levels)
        # Stars and bars: the gaps between L - 1 bars among n + L - 1 positions.
        bars = np.fromiter(
            chain.from_iterable(combinations(range(choices + levels - 1), levels - 1)),
            dtype=np.int64,
            count=self.multisets * (levels - 1),
        ).reshape(self.multisets, levels - 1)
        return np.diff(bars, axis=1, prepend=-1, append=choices + levels - 1) - 1

    def arrange(self, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int8]:
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


def groups_of(costs: Sequence[NDArray[np.int64]]) -> list[Group]:
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
