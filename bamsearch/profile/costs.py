"""Exact costs of very many designs of one model, for a search that looks at all that fit.

No torch: a design is a lookup and three additions for each BAM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from bamsearch.attention.cost import bam_cost, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.records import Cost, Init, Insertion, ModelSummary, Variant, check_choice


class DesignCosts:
    """Costs of designs of one model, equal to :func:`bamsearch.profile.summary.cost_of`'s totals.

    What a BAM costs depends on its site and on h = max(C // r, 1) alone, never on the dilation:
    it is worked out once for each and then looked up.

    Args:
        summary: of the model; its base was counted once.
        variant: which BAM.
        init: how it starts; ``identity`` has one parameter more.

    Raises:
        InvalidValueError: no such variant or init.
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
        # In front of it, so that a known design divides nothing: (site, r) to the three integers.
        self._known: dict[tuple[str, int], tuple[int, int, int]] = {}

    def added(self, site: str, reduction: int) -> Cost:
        """What one BAM adds, at any dilation.

        Raises:
            InvalidValueError: no such site, or a reduction that is no positive integer.
        """
        found = self._sites.get(site)
        if found is None:
            # Here and not at the top: placement belongs to graph, whose other modules load torch.
            from bamsearch.graph.placement import place

            (found,) = place(self.summary.sites, [site])
        key = (site, hidden_channels(found.channels, reduction))
        if key not in self._of_hidden:
            self._of_hidden[key] = bam_cost(
                found, reduction, 1, variant=self.variant, init=self.init
            )
        return self._of_hidden[key]

    def cost(self, insertions: Iterable[Insertion]) -> Cost:
        """What a design costs: parameters, and multiply-adds for one input.

        Args:
            insertions: the design's BAMs; none is the base.

        Returns:
            The total, with the base's table by module.

        Raises:
            InvalidValueError: no such site, or one twice.
        """
        base = self.summary.base
        params, macs, conv_linear = base.params, base.macs, base.conv_linear_macs
        seen = set()
        for count, one in enumerate(insertions, start=1):
            key = (one.site, one.reduction)
            known = self._known.get(key)
            if known is None:
                cost = self.added(*key)
                known = self._known[key] = (cost.params, cost.macs, cost.conv_linear_macs)
            seen.add(one.site)
            if len(seen) != count:
                raise InvalidValueError(f"site {one.site} is in the design twice: it takes one BAM")
            params += known[0]
            macs += known[1]
            conv_linear += known[2]
        return Cost(params, macs, conv_linear, base.by_module, base.uncounted, base.counter)
