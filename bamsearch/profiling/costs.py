"""Exact costs of designs of a model, in closed form. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from bamsearch.attention.cost import bam_cost, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.graph.placement import place
from bamsearch.records import (
    Cost,
    Design,
    Init,
    Insertion,
    ModelSummary,
    Site,
    Variant,
    check_choice,
)


@dataclass(frozen=True, slots=True)
class DesignCost:
    """The exact cost of a design: the count of the base, plus a closed form for each BAM.

    Attributes:
        base: cost without BAM.
        inserted: site, insertion and cost of each BAM.
    """

    base: Cost
    inserted: tuple[tuple[Site, Insertion, Cost], ...]

    @property
    def added(self) -> Cost:
        """The cost of all BAMs."""
        return sum((cost for _, _, cost in self.inserted), Cost(0, 0, 0))

    @property
    def total(self) -> Cost:
        """The cost of base and BAMs, exactly equal to a count of the rewritten network."""
        return self.base + self.added


def cost_of(summary: ModelSummary, design: Design) -> DesignCost:
    """The exact cost of a design of the summary's model.

    Raises:
        InvalidValueError: the model lacks a site of the design.
    """
    costs = DesignCosts(summary, variant=design.variant, init=design.init)
    sites = place(summary.sites, [insertion.site for insertion in design.insertions])
    inserted = tuple(
        (site, insertion, costs.added(site.name, insertion.reduction))
        for site, insertion in zip(sites, design.insertions, strict=True)
    )
    return DesignCost(summary.base, inserted)


class DesignCosts:
    """Costs of very many designs of a model, equal to the totals of :func:`cost_of`.

    The cost of a BAM depends only on its site and on h = max(C // r, 1), not on the dilation: it
    is computed once for each pair and cached. A design takes a lookup and three additions per BAM.

    Args:
        summary: summary of the model, with the count of its base.
        variant: ``paper`` or ``official``.
        init: ``paper`` or ``identity``, which has one more parameter.

    Raises:
        InvalidValueError: unknown variant or init.
    """

    def __init__(
        self, summary: ModelSummary, *, variant: Variant = "paper", init: Init = "paper"
    ) -> None:
        check_choice("variant", variant, get_args(Variant))
        check_choice("init", init, get_args(Init))
        self.summary = summary
        self.variant: Variant = variant
        self.init: Init = init
        self._sites = {site.name: site for site in summary.sites}
        self._of_hidden: dict[tuple[str, int], Cost] = {}
        # (site, r): avoids the division for cached pairs.
        self._by_reduction: dict[tuple[str, int], Cost] = {}

    def added(self, site: str, reduction: int) -> Cost:
        """The cost that a BAM adds, at any dilation.

        Raises:
            InvalidValueError: unknown site, or a reduction that is not a positive integer.
        """
        record = self._sites.get(site) or place(self.summary.sites, [site])[0]
        key = (site, hidden_channels(record.channels, reduction))
        if key not in self._of_hidden:
            self._of_hidden[key] = bam_cost(
                record, reduction, 1, variant=self.variant, init=self.init
            )
        self._by_reduction[site, reduction] = self._of_hidden[key]
        return self._of_hidden[key]

    def cost(self, insertions: Iterable[Insertion]) -> Cost:
        """The cost of a design with these BAMs, with the base's table by module.

        Raises:
            InvalidValueError: unknown site, or a site that occurs twice.
        """
        base = self.summary.base
        params, macs, conv_linear = base.params, base.macs, base.conv_linear_macs
        seen = set()
        for count, insertion in enumerate(insertions, start=1):
            site = insertion.site
            key = (site, insertion.reduction)
            added = self._by_reduction.get(key) or self.added(*key)
            seen.add(site)
            if len(seen) != count:
                raise InvalidValueError(f"site {site} is in the design twice: it takes one BAM")
            params += added.params
            macs += added.macs
            conv_linear += added.conv_linear_macs
        return Cost(params, macs, conv_linear, base.by_module, base.uncounted, base.counter)
