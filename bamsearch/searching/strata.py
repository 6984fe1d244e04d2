"""Designs drawn evenly over the sets of sites that have BAM.

A uniform draw says little of whether a site should have BAM: of 17 options at a site, one is "off".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Rows
from bamsearch.searching.feasible import Feasible, Listed

DRAWN = 20_000
"""Of a set that is not listed."""


def many_sets(feasible: Feasible, rng: np.random.Generator) -> Rows:
    """Designs with many sets of sites: all of a list, else drawn with a coin for each site."""
    if isinstance(feasible, Listed):
        return feasible.table
    options = np.array([len(choice.options) for choice in feasible.space.choices])
    drawn = rng.integers(options, size=(DRAWN, len(options)))
    drawn *= rng.random(drawn.shape) < rng.random((DRAWN, 1))
    rows = np.unique(drawn.astype(np.int8), axis=0)
    return rows[feasible.which_fit(rows)]


def evenly(feasible: Feasible, rows: Rows, rng: np.random.Generator) -> Iterator[Picks]:
    """All rows once; each round has one of every set of sites, as long as that has one left."""
    if not len(rows):
        return
    which = _set_numbers(feasible, rows)
    order = rng.permutation(len(rows))
    waiting: dict[int, list[int]] = {}
    for row in order:
        waiting.setdefault(int(which[row]), []).append(int(row))
    while waiting:
        for group in rng.permutation(sorted(waiting)):
            yield tuple(rows[waiting[group].pop()].tolist())
            if not waiting[group]:
                del waiting[group]


def _set_numbers(feasible: Feasible, rows: Rows) -> NDArray[np.int64]:
    """A number for each row, equal where the same sites have BAM."""
    optional: NDArray[np.bool_] = np.array([c.options[0].off for c in feasible.space.choices])
    _, which = np.unique((rows > 0) & optional, axis=0, return_inverse=True)
    return which.reshape(-1)
