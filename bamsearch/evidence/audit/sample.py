"""A stratified sample of feasible designs for an audit.

Designs are drawn evenly over the sets of sites with BAM: half of them from all feasible designs,
and half from the *band*, their most expensive quarter, where a search under a budget looks. A
uniform sample says little about whether a site should have BAM: of 17 options at a site, only one
is "off".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bamsearch.records import Quantity
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed, Rows
from bamsearch.study.baselines import paper_default

BAND = 0.75
"""Quantile of the cost at which the band begins."""

_SAMPLE_SIZE = 20_000
"""Number of draws from a set that is not listed."""


@dataclass(frozen=True)
class Sample:
    """Designs of a space.

    Attributes:
        encodings: the designs in training order: the base first if the space has it, then the
            largest, then the paper default if the space has it.
        in_band: whether each design is in the band.
        quantity: quantity that defines the band: that of the first budget, otherwise multiply-adds.
        threshold: smallest added cost of a design in the band, in the unit of a budget.
    """

    encodings: tuple[Encoding, ...]
    in_band: tuple[bool, ...]
    quantity: Quantity
    threshold: int


def draw_sample(feasible: Feasible, number: int, seed: int) -> Sample:
    """Draw a sample; it depends on the arguments only.

    Args:
        feasible: the feasible designs.
        number: number of designs, including the base, the largest and the paper default; the
            sample has fewer if fewer are feasible.
        seed: random seed.
    """
    rng = np.random.default_rng(seed)
    quantity = feasible.budgets[0].quantity if feasible.budgets else "gflops"
    uniform = feasible.table if isinstance(feasible, Listed) else feasible.sample(rng, _SAMPLE_SIZE)
    threshold = float(np.quantile(feasible.added(uniform, quantity), BAND))
    chosen = dict.fromkeys(_baselines(feasible))
    rows = varied_site_sets(feasible, rng)
    in_band_rows = rows[feasible.added(rows, quantity) >= threshold]
    queues = [stratified_by_site_set(feasible, each, rng) for each in (rows, in_band_rows)]
    turn = 0
    while len(chosen) < number and queues:
        encoding = next(queues[turn % len(queues)], None)
        if encoding is None:
            del queues[turn % len(queues)]
        elif encoding not in chosen:
            chosen[encoding] = None
            turn += 1
    table = np.array(list(chosen), dtype=np.int8)
    in_band = feasible.added(table, quantity) >= threshold
    return Sample(tuple(chosen), tuple(in_band.tolist()), quantity, round(threshold))


def _baselines(feasible: Feasible) -> list[Encoding]:
    """The base, the largest and the paper default, if they are designs of the space."""
    space = feasible.space
    designs = [space.encoding(()), feasible.largest()]
    paper = paper_default(feasible)
    if paper is not None:
        designs.append(space.encoding(paper))
    return [encoding for encoding in designs if encoding is not None]


def varied_site_sets(feasible: Feasible, rng: np.random.Generator) -> Rows:
    """Designs with many different sets of sites: all listed ones, else coin-flip draws per site."""
    if isinstance(feasible, Listed):
        return feasible.table
    options = np.array([len(choice.options) for choice in feasible.space.choices])
    drawn = rng.integers(options, size=(_SAMPLE_SIZE, len(options)))
    drawn *= rng.random(drawn.shape) < rng.random((_SAMPLE_SIZE, 1))
    rows = np.unique(drawn.astype(np.int8), axis=0)
    return rows[feasible.which_fit(rows)]


def stratified_by_site_set(
    feasible: Feasible, rows: Rows, rng: np.random.Generator
) -> Iterator[Encoding]:
    """All rows once, in rounds: each round has one design of every set of sites not used up."""
    if not len(rows):
        return
    optional = np.array([choice.options[0].off for choice in feasible.space.choices])
    _, stratum = np.unique((rows > 0) & optional, axis=0, return_inverse=True)
    stratum = stratum.reshape(-1)
    order = rng.permutation(len(rows))
    remaining: dict[int, list[int]] = {}
    for row in order:
        remaining.setdefault(int(stratum[row]), []).append(int(row))
    while remaining:
        for group in rng.permutation(sorted(remaining)):
            yield tuple(rows[remaining[group].pop()].tolist())
            if not remaining[group]:
                del remaining[group]
