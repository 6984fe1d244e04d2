"""Stratified samples of designs, by the set of sites that have BAM.

A uniform sample says little about whether a site should have BAM: of 17 options at a site, only one
is "off".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bamsearch.sampler.codes import Rows
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed

SAMPLE_SIZE = 20_000
"""Number of draws from a set that is not listed."""


def varied_site_sets(feasible: Feasible, rng: np.random.Generator) -> Rows:
    """Designs with many different sets of sites: all listed ones, else coin-flip draws per site."""
    if isinstance(feasible, Listed):
        return feasible.table
    options = np.array([len(choice.options) for choice in feasible.space.choices])
    drawn = rng.integers(options, size=(SAMPLE_SIZE, len(options)))
    drawn *= rng.random(drawn.shape) < rng.random((SAMPLE_SIZE, 1))
    rows = np.unique(drawn.astype(np.int8), axis=0)
    return rows[feasible.which_fit(rows)]


def stratified_by_site_set(
    feasible: Feasible, rows: Rows, rng: np.random.Generator
) -> Iterator[Encoding]:
    """All rows once, in rounds: each round has one design of every set of sites not used up."""
    if not len(rows):
        return
    stratum = _set_numbers(feasible, rows)
    order = rng.permutation(len(rows))
    remaining: dict[int, list[int]] = {}
    for row in order:
        remaining.setdefault(int(stratum[row]), []).append(int(row))
    while remaining:
        for group in rng.permutation(sorted(remaining)):
            yield tuple(rows[remaining[group].pop()].tolist())
            if not remaining[group]:
                del remaining[group]


def _set_numbers(feasible: Feasible, rows: Rows) -> NDArray[np.int64]:
    """The stratum of each row: equal if the same sites have BAM."""
    optional: NDArray[np.bool_] = np.array([c.options[0].off for c in feasible.space.choices])
    _, stratum = np.unique((rows > 0) & optional, axis=0, return_inverse=True)
    return stratum.reshape(-1)
