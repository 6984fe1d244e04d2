"""A stratified sample of feasible designs for an audit.

Designs are drawn evenly over the sets of sites with BAM: half of them from all feasible designs,
and half from the *band*, their most expensive quarter, where a search under a budget looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bamsearch.records import Quantity
from bamsearch.sampler.codes import totals_of
from bamsearch.sampler.stratified import SAMPLE_SIZE, stratified_by_site_set, varied_site_sets
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed
from bamsearch.study.baselines import paper_default

BAND = 0.75
"""Quantile of the cost at which the band begins."""


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
    added = [
        np.array([float(option.cost(quantity)) for option in choice.options])
        for choice in feasible.space.choices
    ]
    uniform = feasible.table if isinstance(feasible, Listed) else feasible.sample(rng, SAMPLE_SIZE)
    threshold = float(np.quantile(totals_of(added, uniform), BAND))
    chosen = dict.fromkeys(_baselines(feasible))
    rows = varied_site_sets(feasible, rng)
    in_band_rows = rows[totals_of(added, rows) >= threshold]
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
    in_band = totals_of(added, table) >= threshold
    return Sample(tuple(chosen), tuple(in_band.tolist()), quantity, round(threshold))


def _baselines(feasible: Feasible) -> list[Encoding]:
    """The base, the largest and the paper default, if they are designs of the space."""
    space = feasible.space
    designs = [space.encoding(()), feasible.largest()]
    paper = paper_default(feasible)
    if paper is not None:
        designs.append(space.encoding(paper))
    return [encoding for encoding in designs if encoding is not None]
