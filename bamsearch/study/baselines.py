"""The baselines of a search: designs that are known before it starts."""

from __future__ import annotations

import math
from itertools import islice

from bamsearch.errors import NoSiteError
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import BaselineKind, Insertion
from bamsearch.sampler.basic_samplers import RandomSampler
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible

# Added to the seed, so that the order differs from that of the random sampler.
_OTHER_SEED = 1_000_003


def paper_default(feasible: Feasible) -> tuple[Insertion, ...] | None:
    """The paper's sites with r=16, d=4; None if over a budget, or if the model has no such site.

    If memory or latency is limited, it must be in the space: only those designs are measured.
    """
    space = feasible.space
    try:
        insertions = plan_insertions(space.summary.sites)
    except NoSiteError:
        return None
    encoding = space.encoding(insertions)
    if encoding is not None:
        return space.insertions(encoding) if feasible.fits(encoding) else None
    costs = DesignCosts(space.summary, variant=space.variant, init=space.init).cost(insertions)
    totals = {"gflops": costs.macs, "params": costs.params}
    fits = all(b.admits(totals.get(b.quantity, math.inf)) for b in feasible.budgets)
    return insertions if fits else None


def first_designs(feasible: Feasible, sampler: str) -> list[Encoding]:
    """The designs tried before any proposal: the largest feasible one, and the paper default.

    With them, the result of a search is never worse than the designs known without it.
    """
    if sampler in ("random", "exhaustive"):
        return []
    designs = [feasible.largest()]
    paper = paper_default(feasible)
    encoding = feasible.space.encoding(paper) if paper is not None else None
    if encoding is not None and encoding not in designs:
        designs.append(encoding)
    return designs


def list_baselines(
    feasible: Feasible, *, seed: int, random: int, base: int = 1
) -> list[tuple[BaselineKind, tuple[Insertion, ...]]]:
    """The baselines, in the order in which they are scored.

    ``random`` is the length of the random search; ``base`` is above 1 if scores are noisy.
    """
    space = feasible.space
    baselines: list[tuple[BaselineKind, tuple[Insertion, ...]]] = [("base", ())] * base
    paper = paper_default(feasible)
    if paper is not None:
        baselines.append(("paper", paper))
    baselines.append(("largest", space.insertions(feasible.largest())))
    drawn = RandomSampler(feasible, seed + _OTHER_SEED).order()
    baselines += [("random", space.insertions(encoding)) for encoding in islice(drawn, random)]
    return baselines
