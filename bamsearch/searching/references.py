"""What a search is compared with: designs that are known before it starts."""

from __future__ import annotations

from itertools import islice

from bamsearch.errors import NoSiteError
from bamsearch.graph.placement import plan
from bamsearch.profile.costs import DesignCosts
from bamsearch.records import Insertion, ReferenceKind
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.proposers import RandomProposer

# Another order than that of the random sampler with the same seed.
_OTHER_SEED = 1_000_003


def paper_default(feasible: Feasible) -> tuple[Insertion, ...] | None:
    """The paper's sites with r=16, d=4; None where it is over a budget or the model has none.

    Where memory or time is limited it must be a design of the space: only those are measured.
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
    taken = {"gflops": costs.macs, "params": costs.params}
    fits = all(taken.get(b.quantity, b.limit + 1) <= b.limit for b in feasible.budgets)
    return insertions if fits else None


def first_designs(feasible: Feasible, sampler: str) -> list[Picks]:
    """Designs that are tried before any proposal: the largest that fits, and the paper default.

    So the best design that a search finds is never worse than what is known without it.
    """
    if sampler in ("random", "exhaustive"):
        return []
    found = [feasible.largest()]
    paper = paper_default(feasible)
    picks = feasible.space.picks(paper) if paper is not None else None
    if picks is not None and picks not in found:
        found.append(picks)
    return found


def references(
    feasible: Feasible, *, seed: int, random: int, base: int = 1
) -> list[tuple[ReferenceKind, tuple[Insertion, ...]]]:
    """What the search is compared with, in the order in which it is scored.

    Args:
        feasible: what fits.
        seed: of the random search.
        random: how many designs of a random search; 0 leaves it out.
        base: how often the base is scored: more than once where scores are noisy.
    """
    space = feasible.space
    found: list[tuple[ReferenceKind, tuple[Insertion, ...]]] = [("base", ())] * base
    paper = paper_default(feasible)
    if paper is not None:
        found.append(("paper", paper))
    found.append(("largest", space.insertions(feasible.largest())))
    drawn = RandomProposer(feasible, seed + _OTHER_SEED).order()
    found += [("random", space.insertions(picks)) for picks in islice(drawn, random)]
    return found
