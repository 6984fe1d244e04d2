"""The search space of one model: a decision per site, its options, and the cost of each option.

A design in the space is encoded as a tuple of option numbers, one per choice, its *encoding*. The
options of a choice compute different functions, so different encodings are different networks: BAMs
with equal h = max(C // r, 1) and equal min(d, max(H, W)) count once, under the smallest such r and
d.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import SpaceError
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import Design, Init, Insertion, ModelSummary, Quantity, Site, Variant

# Sets of designs are tables of signed bytes.
_MOST_OPTIONS = 127

USUAL_DILATION = 4
"""The paper's dilation, preferred among options of equal cost, because d does not affect cost."""

Encoding = tuple[int, ...]
"""Encoding of a design: the number of the chosen option, one per choice."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a choice: no BAM, or BAM with r and d.

    Attributes:
        reduction: r; 0 for no BAM.
        dilation: d; 0 for no BAM.
        params: added parameters, over all sites of the choice.
        macs: added multiply-adds.
        memory: added bytes kept in a training step; 0 unless memory is limited.
        ns: predicted added nanoseconds; 0 unless latency is limited.
        kind: name of an operation other than BAM, without r and d; kinds have no order.
    """

    reduction: int = 0
    dilation: int = 0
    params: int = 0
    macs: int = 0
    memory: int = 0
    ns: int = 0
    kind: str = ""

    @property
    def off(self) -> bool:
        """Whether the option inserts nothing."""
        return self.reduction == 0 and not self.kind

    @property
    def label(self) -> str:
        """``r16 d4``, a kind, or ``off``: the value of an Optuna parameter."""
        if self.kind:
            return self.kind
        return "off" if self.off else f"r{self.reduction} d{self.dilation}"

    def cost(self, quantity: Quantity) -> int:
        """The added cost, in the unit of :class:`bamsearch.records.Budget`."""
        return {
            "gflops": self.macs,
            "params": self.params,
            "memory": self.memory,
            "ms": self.ns,
        }[quantity]


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision of a search: at a site, or at sites that are decided together.

    Attributes:
        name: name of the site, or those of the first and the last site.
        sites: sites of the decision.
        options: options; the first is off, unless the site must have BAM.
    """

    name: str
    sites: tuple[Site, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class SearchSpace:
    """All designs of a space for one model.

    Attributes:
        name: name of the space: ``stages``, or that in a file.
        summary: summary of the model.
        choices: choices in network order.
        variant: variant of BAM.
        init: initialisation of BAM.
        num_classes: classes of the head, as in :class:`bamsearch.Design`.
        memory: bytes kept in a training step of the base; 0 unless memory is limited.
        ns: latency of the base in nanoseconds; 0 unless latency is limited.
    """

    name: str
    summary: ModelSummary
    choices: tuple[Choice, ...]
    variant: Variant = "paper"
    init: Init = "paper"
    num_classes: int | None = None
    memory: int = 0
    ns: int = 0

    @cached_property
    def designs(self) -> int:
        """Number of different designs, including the base if it is in the space."""
        return prod(len(choice.options) for choice in self.choices)

    def insertions(self, encoding: Sequence[int]) -> tuple[Insertion, ...]:
        """The insertions of an encoding, in network order."""
        by_site = {
            site.name: Insertion(site.name, option.reduction, option.dilation)
            for choice, option in self._chosen(encoding)
            if not option.off
            for site in choice.sites
        }
        return tuple(by_site[site.name] for site in self.summary.sites if site.name in by_site)

    def design(self, insertions: Iterable[Insertion]) -> Design:
        """The insertions as a design of this model."""
        return Design(
            self.summary.model,
            self.summary.input_shape,
            tuple(insertions),
            self.variant,
            self.init,
            self.num_classes,
            how=self.summary.how,
        )

    def encoding(self, insertions: Iterable[Insertion]) -> Encoding | None:
        """The encoding with the function of the insertions; None if not in the space."""
        by_site = {i.site: (i.reduction, i.dilation) for i in insertions}
        encoding = []
        for choice, functions in zip(self.choices, self._functions, strict=True):
            chosen = [by_site.pop(site.name, (0, 0)) for site in choice.sites]
            function = _functions_at(choice.sites, chosen)
            if function not in functions:
                return None
            encoding.append(functions.index(function))
        return None if by_site else tuple(encoding)

    def added(self, encoding: Sequence[int], quantity: Quantity) -> int:
        """Cost added to the base, in the unit of :class:`bamsearch.records.Budget`."""
        return sum(option.cost(quantity) for _, option in self._chosen(encoding))

    def total(self, encoding: Sequence[int], quantity: Quantity) -> int:
        """Cost of the whole network, in the unit of :class:`bamsearch.records.Budget`."""
        base = self.summary.base
        of_base = {"gflops": base.macs, "params": base.params, "memory": self.memory, "ms": self.ns}
        return of_base[quantity] + self.added(encoding, quantity)

    def largest(self) -> Encoding:
        """The design with most parameters; among equals, with d = 4."""
        encoding = []
        for choice in self.choices:
            sizes = [
                (option.params, option.dilation == USUAL_DILATION) for option in choice.options
            ]
            encoding.append(sizes.index(max(sizes)))
        return tuple(encoding)

    def inserts_nothing(self, encoding: Sequence[int]) -> bool:
        """Whether an encoding is the base network."""
        return all(option.off for _, option in self._chosen(encoding))

    @cached_property
    def numbers(self) -> dict[tuple[str, str], int]:
        """Numbers of the options, by the names of their choices and their labels."""
        return {
            (choice.name, option.label): number
            for choice in self.choices
            for number, option in enumerate(choice.options)
        }

    @cached_property
    def _functions(self) -> list[list[object]]:
        """What the options of each choice compute; kinds are not made of BAMs."""
        return [
            [
                o.kind or _functions_at(c.sites, [(o.reduction, o.dilation)] * len(c.sites))
                for o in c.options
            ]
            for c in self.choices
        ]

    def _chosen(self, encoding: Sequence[int]) -> list[tuple[Choice, Option]]:
        pairs = zip(self.choices, encoding, strict=True)
        return [(choice, choice.options[number]) for choice, number in pairs]


def make_choice(
    sites: Sequence[Site],
    pairs: Iterable[tuple[int, int]],
    costs: DesignCosts,
    *,
    optional: bool,
) -> Choice:
    """The choice at a site, or at sites that are decided together, without repeated functions.

    Args:
        sites: sites, at least one.
        pairs: (r, d), in any order.
        costs: costs of the model's designs.
        optional: whether the sites may have no BAM.

    Raises:
        SpaceError: more than 127 options.
    """
    by_function: dict[object, Option] = {}
    for reduction, dilation in sorted(pairs):
        key = _functions_at(sites, [(reduction, dilation)] * len(sites))
        if key not in by_function:
            added = [costs.added(site.name, reduction) for site in sites]
            params, macs = sum(c.params for c in added), sum(c.macs for c in added)
            by_function[key] = Option(reduction, dilation, params, macs)
    options = (*((Option(),) if optional else ()), *by_function.values())
    name = sites[0].name if len(sites) == 1 else f"{sites[0].name} to {sites[-1].name}"
    if len(options) > _MOST_OPTIONS:
        raise SpaceError(
            f"{name} has {len(options)} different options, but a search supports at most "
            f"{_MOST_OPTIONS}: give fewer reductions or dilations"
        )
    return Choice(name, tuple(sites), options)


BASE = ("", "")
"""Key of the base in :func:`with_costs`."""


def with_costs(space: SearchSpace, costs: Mapping[tuple[str, str], tuple[int, int]]) -> SearchSpace:
    """The space with the memory and the latency of each option filled in.

    Args:
        space: space without measured costs.
        costs: (bytes, nanoseconds) by (name of the choice, label of the option), and of the base
            under ``BASE``.
    """

    def filled(choice: Choice, option: Option) -> Option:
        memory, ns = costs.get((choice.name, option.label), (0, 0))
        return replace(option, memory=memory, ns=ns)

    choices = tuple(
        replace(choice, options=tuple(filled(choice, option) for option in choice.options))
        for choice in space.choices
    )
    memory, ns = costs.get(BASE, (0, 0))
    return replace(space, choices=choices, memory=memory, ns=ns)


def _functions_at(sites: Sequence[Site], bams: Iterable[tuple[int, int]]) -> tuple[object, ...]:
    """Effective (h, d) of (r, d) at each site: equal for equal functions; r = 0 is no BAM."""
    return tuple(
        (hidden_channels(site.channels, r), effective_dilation(site, d)) if r else (0, 0)
        for site, (r, d) in zip(sites, bams, strict=True)
    )
