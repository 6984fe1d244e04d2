"""The place of a site's BAM in a supernet: every r and d from one set of weights, or none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain, product

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.graph.initial import initialise_bam
from bamsearch.records import Insertion, Site
from bamsearch.score.supernet.options import Share
from bamsearch.score.supernet.space import Rule

_ALL = "all"
_CONTEXTS = ("context1", "context2")


class Slot(nn.Module):
    """BAM at a site with any r and d of its range, or nothing: what was chosen last.

    A BAM of h hidden channels computes with the first h of the widest one's, in BAM's own forward.
    What does not depend on h is shared whole: the norms at the end of the branches, and the gate of
    ``init="identity"``. Weights outside the chosen slice get a gradient of 0, and those of a part
    that is not chosen get none.

    Args:
        site: where.
        widest: the BAM with the smallest r of the site, whose weights are taken over.
        rule: the reductions and dilations of the site.
        share: which weights they have in common, see :class:`SupernetOptions`.
        seed: of weights that ``widest`` has not; torch's random numbers are moved.

    Attributes:
        parts: what weights are in: ``all``, and those of one dilation (``d2``) or of one hidden
            width and dilation (``h4d2``).
        chosen: None is no BAM.
    """

    def __init__(self, site: Site, widest: BAM, rule: Rule, share: Share, seed: int) -> None:
        super().__init__()
        self.chosen: Insertion | None = None
        self._site = site
        self._share = share
        self._least = widest.reduction
        self._variant, self._init = widest.variant, widest.init
        # By r and d. Not registered: they are on the meta device, without weights of their own.
        self._forms: dict[tuple[int, int], BAM] = {}
        self.parts = nn.ModuleDict()
        if share == "none":
            for reduction, dilation in product(*rule):
                (name,) = self._parts_of(Insertion(site.name, reduction, dilation))
                self.parts[name] = self._own_bam(reduction, dilation, widest, seed)
            return
        self.parts[_ALL] = widest
        if share == "dilation":
            for dilation in rule[1]:
                _, name = self._parts_of(Insertion(site.name, widest.reduction, dilation))
                self.parts[name] = _contexts(widest)
            for context in _CONTEXTS:
                delattr(widest.spatial, context)

    def forward(self, x: Tensor) -> Tensor:
        """The map as the chosen BAM refines it; x itself where there is none."""
        if self.chosen is None:
            return x
        form = self._form(self.chosen).train(self.training)
        refined: Tensor = functional_call(form, self.tensors(self.chosen), (x,))
        return refined

    def check(self, insertion: Insertion) -> None:
        """Raise InvalidValueError where r or d is not in the range of the slot.

        With weights shared over all r and d, every r from the smallest on is, and every d.
        """
        missing = [name for name in self._parts_of(insertion) if name not in self.parts]
        if missing:
            there = ", ".join(name for name in self.parts if name != _ALL)
            raise InvalidValueError(f"{self._said(insertion)}: {missing[0]} is none of {there}")
        if self._hidden(insertion.reduction) > self._hidden(self._least):
            raise InvalidValueError(f"{self._said(insertion)}: give an r of at least {self._least}")

    def tensors(self, insertion: Insertion) -> dict[str, Tensor]:
        """Parameters and buffers of a BAM, by the names that BAM has for them.

        They are views of the slot's own: gradients arrive there, and batch norms write there.
        """
        held: dict[str, Tensor] = {}
        for name in self._parts_of(insertion):
            held.update(_named_tensors(self.parts[name]))
        # Hidden channels come first on every axis that has them.
        return {
            name: held[name][tuple(slice(size) for size in like.shape)]
            for name, like in _named_tensors(self._form(insertion))
        }

    def _parts_of(self, insertion: Insertion) -> tuple[str, ...]:
        """Where the weights of a BAM are; what is in a later part counts."""
        dilation = effective_dilation(self._site, insertion.dilation)
        return {
            "width": (_ALL,),
            "dilation": (_ALL, f"d{dilation}"),
            "none": (f"h{self._hidden(insertion.reduction)}d{dilation}",),
        }[self._share]

    def _hidden(self, reduction: int) -> int:
        return hidden_channels(self._site.channels, reduction)

    def _form(self, insertion: Insertion) -> BAM:
        """The BAM that computes, without weights."""
        key = (insertion.reduction, insertion.dilation)
        if key not in self._forms:
            with torch.device("meta"):
                self._forms[key] = self._bam(*key)
        return self._forms[key]

    def _bam(self, reduction: int, dilation: int) -> BAM:
        return BAM(
            self._site.channels,
            reduction,
            dilation,
            variant=self._variant,
            init=self._init,
            layout=self._site.layout,
        )

    def _own_bam(self, reduction: int, dilation: int, like: BAM, seed: int) -> BAM:
        bam = self._bam(reduction, dilation)
        initialise_bam(bam, self._site.name, seed)
        weight = like.spatial.reduce.weight
        return bam.to(weight.device, weight.dtype).train(like.training)

    def _said(self, insertion: Insertion) -> str:
        r, d = insertion.reduction, insertion.dilation
        return f"the supernet's slot at {self._site.name} has no r={r}, d={d}"


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


def _contexts(bam: BAM) -> nn.Module:
    """The 3x3 convolutions of a BAM, copied, under the names that they have there."""
    spatial, part = nn.Module(), nn.Module()
    for name in _CONTEXTS:
        spatial.add_module(name, copy.deepcopy(getattr(bam.spatial, name)))
    part.add_module("spatial", spatial)
    return part
