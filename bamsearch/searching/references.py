"""The baselines of a search: designs that are known before it starts."""

from __future__ import annotations

import math
from itertools import islice

from bamsearch.errors import NoSiteError
from bamsearch.graph.placement import plan
from bamsearch.profile.costs import DesignCosts
from bamsearch.records import Insertion, ReferenceKind
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.proposers import RandomProposer

# Added to the seed, so that the order differs from that of the random sampler.
_OTHER_SEED = 1_000_003


def paper_default(feasible: Feasible) -> tuple[Insertion, ...] | None:
    """The paper's sites with r=16, d=4; None if over a budget, or if the model has no such site.

    If memory or latency is limited, it must be in the space: only those designs are measured.
    """
    space = feasible.space
    try:
        insertions = plan(space.summary.sites)
    except NoSiteError:
        return None
    picks = space.picks(insertions)
    if picks is not None:
        return space.insertions(picks) if feasible.fits(picks) else None
    costs = DesignCosts(space.summary, variant=space.variant, init=space.init).cost(insertions)
    totals = {"gflops": costs.macs, "params": costs.params}
    fits = all(b.admits(totals.get(b.quantity, math.inf)) for b in feasible.budgets)
    return insertions if fits else None


def first_designs(feasible: Feasible, sampler: str) -> list[Picks]:
    """The designs tried before any proposal: the largest feasible one, and the paper default.

    With them, the result of a search is never worse than the designs known without it.
    """
    if sampler in ("random", "exhaustive"):
        return []
    designs = [feasible.largest()]
    paper = paper_default(feasible)
    picks = feasible.space.picks(paper) if paper is not None else None
    if picks is not None and picks not in designs:
        designs.append(picks)
    return designs


def references(
    feasible: Feasible, *, seed: int, random: int, base: int = 1
) -> list[tuple[ReferenceKind, tuple[Insertion, ...]]]:
    """The baselines, in the order in which they are scored.

    Args:
        feasible: feasible set.
        seed: random seed of the random search.
        random: number of designs of the random search; 0 leaves it out.
        base: number of times that the base is scored: more than one if scores are noisy.
    """
    space = feasible.space
    baselines: list[tuple[ReferenceKind, tuple[Insertion, ...]]] = [("base", ())] * base
    paper = paper_default(feasible)
    if paper is not None:
        baselines.append(("paper", paper))
    baselines.append(("largest", space.insertions(feasible.largest())))
    drawn = RandomProposer(feasible, seed + _OTHER_SEED).order()
    baselines += [("random", space.insertions(picks)) for picks in islice(drawn, random)]
    return baselines
