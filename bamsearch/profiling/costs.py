"""Exact costs of very many designs of a model, for searches over all feasible designs.

No torch: the cost of a design takes a lookup and three additions per BAM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from bamsearch.attention.cost import bam_cost, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.records import Cost, Init, Insertion, ModelSummary, Variant, check_choice


class DesignCosts:
    """Costs of designs of a model, equal to :func:`bamsearch.profiling.summary.cost_of`'s totals.

    The cost of a BAM depends only on its site and on h = max(C // r, 1), not on the dilation: it
    is computed once for each pair and cached.

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
        # (site, r) → (params, macs, conv_linear_macs): avoids the division for cached pairs.
        self._by_reduction: dict[tuple[str, int], tuple[int, int, int]] = {}

    def added(self, site: str, reduction: int) -> Cost:
        """The cost that a BAM adds, at any dilation.

        Raises:
            InvalidValueError: unknown site, or a reduction that is not a positive integer.
        """
        record = self._sites.get(site)
        if record is None:
            # Imported here: other modules of the package graph load torch.
            from bamsearch.graph.placement import place

            (record,) = place(self.summary.sites, [site])
        key = (site, hidden_channels(record.channels, reduction))
        if key not in self._of_hidden:
            self._of_hidden[key] = bam_cost(
                record, reduction, 1, variant=self.variant, init=self.init
            )
        return self._of_hidden[key]

    def cost(self, insertions: Iterable[Insertion]) -> Cost:
        """The cost of a design: parameters, and multiply-adds for one input.

        Args:
            insertions: the design's BAMs; empty for the base.

        Returns:
            The total, with the base's table by module.

        Raises:
            InvalidValueError: unknown site, or a site that occurs twice.
        """
        base = self.summary.base
        params, macs, conv_linear = base.params, base.macs, base.conv_linear_macs
        seen = set()
        for count, insertion in enumerate(insertions, start=1):
            site = insertion.site
            key = (site, insertion.reduction)
            added = self._by_reduction.get(key)
            if added is None:
                cost = self.added(*key)
                added = self._by_reduction[key] = (cost.params, cost.macs, cost.conv_linear_macs)
            seen.add(site)
            if len(seen) != count:
                raise InvalidValueError(f"site {site} is in the design twice: it takes one BAM")
            params += added[0]
            macs += added[1]
            conv_linear += added[2]

        return Cost(params, macs, conv_linear, base.by_module, base.uncounted, base.counter)
