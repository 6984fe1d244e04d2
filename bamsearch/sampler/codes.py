"""Encodes designs as rows of codes: an option code per choice, and a level per size measure.

The size measures are the added multiply-adds and the added parameters, on a scale of 40 levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bamsearch.space.feasible import Feasible

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Rows = NDArray[np.int8]
"""Designs: (n, choices), the number of the chosen option."""

LEVELS = 40
"""Number of size levels: few enough for a table between all pairs of levels."""

_DRAWN = 256


class Coder:
    """Encodes designs: the number of (kind, r, d) for each choice, and a level for each size.

    Attributes:
        known: all (kind, r, d) of the space, ("", 0, 0) for off.
        sizes: size measures.
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
        """Codes of rows of encodings: (n, choices) to (n, choices + sizes)."""
        columns = [codes[table[:, i]] for i, codes in enumerate(self._options)]
        for amounts, scale in zip(self._amounts, self._scales, strict=True):
            level = np.rint(LEVELS * np.minimum(totals_of(amounts, table) / scale, 1.0))
            columns.append(level.astype(np.int64))
        return np.column_stack(columns).astype(np.int64)


def largest_total(feasible: Feasible, amounts: Sequence[Floats]) -> float:
    """A total that few designs exceed: the maximum over the largest design and a sample, >= 1.

    Args:
        feasible: the feasible set.
        amounts: added amounts of the options of each choice.
    """
    rows = feasible.sample(np.random.default_rng(0), _DRAWN)
    table = np.concatenate([np.array([feasible.largest()], dtype=np.int8), rows])
    return max(float(totals_of(amounts, table).max()), 1.0)


def totals_of(amounts: Sequence[Floats], table: Rows) -> Floats:
    """Totals of designs: rows of encodings, (n, choices), to (n,)."""
    totals = np.zeros(len(table))
    for column, amount in enumerate(amounts):
        totals += amount[table[:, column]]
    return totals
