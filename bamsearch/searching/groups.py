"""Choices that cost alike: a group of n choices with L levels of cost has C(n+L-1, L-1) multisets.

Options that add the same are one level; choices with the same levels, each as often, are a group.
What a design costs depends on how many choices of each group are at each level, nothing else: 22
blocks of one stage of resnet101 have 17^22 designs of at most 14,950 different costs.
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
    """Choices whose options cost the same.

    Attributes:
        columns: (n,) numbers of the choices.
        levels: (L, budgets) the different costs, in lexical order.
        times: (L,) how many options of each choice are at the level.
        starts: (L,) where the level starts in a row of order.
        order: (n, options) each choice's option numbers by level.
    """

    columns: NDArray[np.intp]
    levels: NDArray[np.int64]
    times: NDArray[np.int64]
    starts: NDArray[np.intp]
    order: NDArray[np.int8]

    @property
    def multisets(self) -> int:
        """In how many ways its choices can be at levels, whichever choice is at which."""
        return comb(len(self.columns) + len(self.levels) - 1, len(self.levels) - 1)

    def split(self, size: int) -> list[Group]:
        """The group in parts of at most size choices."""
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
        """Every multiset as how many choices are at each level: (multisets, L)."""
        choices, levels = len(self.columns), len(self.levels)
        # Stars and bars: the gaps between L - 1 bars among n + L - 1 places.
        bars = np.fromiter(
            chain.from_iterable(combinations(range(choices + levels - 1), levels - 1)),
            dtype=np.int64,
            count=self.multisets * (levels - 1),
        ).reshape(self.multisets, levels - 1)
        return np.diff(bars, axis=1, prepend=-1, append=choices + levels - 1) - 1

    def arrange(self, counts: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int8]:
        """Options drawn uniformly among those with these counts.

        Args:
            counts: (number, L) how many choices are at each level.
            rng: what they are drawn with.

        Returns:
            (number, n) option numbers.
        """
        choices = np.arange(len(self.columns))
        ends = np.cumsum(counts, axis=1)
        level = rng.permuted((choices[None, :, None] >= ends[:, None, :]).sum(axis=2), axis=1)
        place = self.starts[level] + rng.integers(self.times[level])
        drawn: NDArray[np.int8] = self.order[choices, place]
        return drawn


def groups_of(costs: Sequence[NDArray[np.int64]]) -> list[Group]:
    """The groups of choices.

    Args:
        costs: of each choice what its options add: (options, budgets), at least one budget.
    """
    found: dict[tuple[tuple[int, ...], ...], list[tuple[int, NDArray[np.intp]]]] = {}
    for column, rows in enumerate(costs):
        order = np.lexsort(rows.T[::-1])
        key = tuple(map(tuple, rows[order].tolist()))
        found.setdefault(key, []).append((column, order))
    groups = []
    for key, members in found.items():
        levels, starts, times = np.unique(
            np.array(key, dtype=np.int64), axis=0, return_index=True, return_counts=True
        )
        columns = np.array([column for column, _ in members])
        orders = np.array([order for _, order in members]).astype(np.int8)
        groups.append(Group(columns, levels, times, starts, orders))
    return groups
