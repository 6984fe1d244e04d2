"""The insertions of a design with their costs."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.attention.cost import effective_dilation
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import Design, Insertion, Run, Site


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One BAM of a design.

    Attributes:
        site: its site.
        insertion: its r and d.
        params: added parameters.
        macs: added multiply-adds for one input, fvcore's.
        ms: added milliseconds, predicted by the run's latency table plus its worst error; None
            without a table, or if sites are chosen together.
        same_as: the smaller d that computes the same, if any: all outer taps of the convolution
            fall in the padding.
    """

    site: Site
    insertion: Insertion
    params: int
    macs: int
    ms: float | None = None
    same_as: int | None = None


def site_rows(run: Run, design: Design) -> tuple[SiteRow, ...]:
    """The BAMs of a design of the run, in network order."""
    costs = DesignCosts(run.summary, variant=run.variant, init=run.init)
    by_site = {insertion.site: insertion for insertion in design.insertions}
    return tuple(
        _row(run, costs, site, by_site[site.name])
        for site in run.summary.sites
        if site.name in by_site
    )


def _row(run: Run, costs: DesignCosts, site: Site, insertion: Insertion) -> SiteRow:
    added = costs.added(site.name, insertion.reduction)
    label = f"r{insertion.reduction} d{insertion.dilation}"
    _, ns = run.added.get((site.name, label), (0, 0))
    same = effective_dilation(site, insertion.dilation)
    return SiteRow(
        site,
        insertion,
        added.params,
        added.macs,
        ns / 1e6 if run.latency is not None and ns else None,
        same if same != insertion.dilation else None,
    )
