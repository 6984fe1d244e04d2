"""Designs as rows of codes: one a choice, for its option, and one for each of its sizes.

The sizes are the multiply-adds and the parameters that a design adds, on a scale of levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bamsearch.searching.feasible import Feasible

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Rows = NDArray[np.int8]
"""Designs: (n, choices), the number of the chosen option."""

LEVELS = 40
_DRAWN = 256


class Coder:
    """Picks to codes: of each choice the number of its (kind, r, d), of each size a level.

    Attributes:
        known: every (kind, r, d) of the space, ("", 0, 0) for off.
        sizes: what is added up over a design.
    """

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        keys = [[(o.kind, o.reduction, o.dilation) for o in c.options] for c in choices]
        self.known = sorted({key for each in keys for key in each})
        self._options = [np.array([self.known.index(key) for key in each]) for each in keys]
        self.sizes = ("macs", "params")
        self._amounts = [
            [np.array([float(getattr(o, size)) for o in c.options]) for c in choices]
            for size in self.sizes
        ]
        self._scales = [largest_total(feasible, amounts) for amounts in self._amounts]

    def __call__(self, table: Rows) -> Codes:
        """Rows of picks, (n, choices), as codes: (n, choices and sizes)."""
        columns = [codes[table[:, i]] for i, codes in enumerate(self._options)]
        for amounts, scale in zip(self._amounts, self._scales, strict=True):
            level = np.rint(LEVELS * np.minimum(total(amounts, table) / scale, 1.0))
            columns.append(level.astype(np.int64))
        return np.column_stack(columns).astype(np.int64)


def largest_total(feasible: Feasible, amounts: Sequence[Floats]) -> float:
    """An amount that few designs exceed: of the largest design, and of some drawn; at least 1.

    Args:
        feasible: the feasible set.
        amounts: what each option of each choice adds.
    """
    rows = feasible.sample(np.random.default_rng(0), _DRAWN)
    table = np.concatenate([np.array([feasible.largest()], dtype=np.int8), rows])
    return max(float(total(amounts, table).max()), 1.0)


def total(amounts: Sequence[Floats], table: Rows) -> Floats:
    """What designs add together: rows of picks, (n, choices), to (n,)."""
    found = np.zeros(len(table))
    for column, amount in enumerate(amounts):
        found += amount[table[:, column]]
    return found
