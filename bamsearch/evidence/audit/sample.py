"""A stratified sample of feasible designs for an audit.

Designs are drawn evenly over the sets of sites with BAM: half of them from all feasible designs,
and half from the *band*, their most expensive quarter, where a search under a budget looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bamsearch.records import Quantity
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import total
from bamsearch.searching.feasible import Feasible, Listed
from bamsearch.searching.references import paper_default
from bamsearch.searching.strata import DRAWN, evenly, many_sets

BAND = 0.75
"""Quantile of the cost at which the band begins."""


@dataclass(frozen=True)
class Sample:
    """Designs of a space.

    Attributes:
        picks: the designs in training order: the base first if the space has it, then the largest,
            then the paper default if the space has it.
        in_band: whether each design is in the band.
        quantity: quantity that defines the band: that of the first budget, otherwise multiply-adds.
        threshold: smallest added cost of a design in the band, in the unit of a budget.
    """

    picks: tuple[Picks, ...]
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
    uniform = feasible.table if isinstance(feasible, Listed) else feasible.sample(rng, DRAWN)
    threshold = float(np.quantile(total(added, uniform), BAND))
    chosen = dict.fromkeys(_baselines(feasible))
    rows = many_sets(feasible, rng)
    in_band_rows = rows[total(added, rows) >= threshold]
    strata = [evenly(feasible, each, rng) for each in (rows, in_band_rows)]
    turn = 0
    while len(chosen) < number and strata:
        picks = next(strata[turn % len(strata)], None)
        if picks is None:
            del strata[turn % len(strata)]
        elif picks not in chosen:
            chosen[picks] = None
            turn += 1
    table = np.array(list(chosen), dtype=np.int8)
    in_band = total(added, table) >= threshold
    return Sample(tuple(chosen), tuple(in_band.tolist()), quantity, round(threshold))


def _baselines(feasible: Feasible) -> list[Picks]:
    """The base, the largest and the paper default, if they are designs of the space."""
    space = feasible.space
    designs = [space.picks(()), feasible.largest()]
    paper = paper_default(feasible)
    if paper is not None:
        designs.append(space.picks(paper))
    return [picks for picks in designs if picks is not None]
