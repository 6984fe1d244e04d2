"""A search space of one model: a choice at every site, its options, and what each of them adds.

A design in the space is a tuple of option numbers, one a choice, called ``picks``. All options of a
choice are different functions, so that different picks are different networks: BAMs with equal
h = max(C // r, 1) and equal min(d, max(H, W)) count once, shown with the smallest such r and d.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import SpaceError
from bamsearch.profile.costs import DesignCosts
from bamsearch.records import Design, Init, Insertion, ModelSummary, Quantity, Site, Variant

# Sets of designs are tables of signed bytes.
_MOST_OPTIONS = 127

USUAL_DILATION = 4
"""What the largest design has where the dilation changes nothing of its cost: the paper's."""

Picks = tuple[int, ...]
"""A design: the number of the chosen option, one a choice."""


@dataclass(frozen=True, slots=True)
class Option:
    """What can be done at a choice: nothing, or BAM with r and d.

    Attributes:
        reduction: r; 0 for nothing.
        dilation: d; 0 for nothing.
        params: parameters that it adds, over all sites of the choice.
        macs: multiply-adds that it adds.
        memory: bytes that it adds to what a training step keeps; 0 unless memory is limited.
        ns: nanoseconds that it is predicted to add; 0 unless the time is limited.
        kind: name of another operation than BAM, without r and d; kinds have no order.
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
        """Whether it inserts nothing."""
        return self.reduction == 0 and not self.kind

    @property
    def label(self) -> str:
        """``r16 d4``, a kind, or ``off``: the value of an Optuna parameter."""
        if self.kind:
            return self.kind
        return "off" if self.off else f"r{self.reduction} d{self.dilation}"

    def cost(self, quantity: Quantity) -> int:
        """What it adds, in the unit of :class:`bamsearch.records.Budget`."""
        return {
            "gflops": self.macs,
            "params": self.params,
            "memory": self.memory,
            "ms": self.ns,
        }[quantity]


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a search: a site, or sites that are decided together.

    Attributes:
        name: the site's name, or the first and last one's of several.
        sites: where BAM goes.
        options: the first is off, unless the site must have BAM.
    """

    name: str
    sites: tuple[Site, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class SearchSpace:
    """All designs of a space for one model.

    Attributes:
        name: of the space: ``stages``, or a file's.
        summary: of the model.
        choices: in network order.
        variant: which BAM.
        init: how it starts.
        num_classes: of the model's head, as in :class:`bamsearch.Design`.
        memory: bytes that a training step of the base keeps; 0 unless memory is limited.
        ns: nanoseconds that the base takes; 0 unless the time is limited.
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
        """How many different designs there are, the base included where it is one."""
        return prod(len(choice.options) for choice in self.choices)

    def insertions(self, picks: Sequence[int]) -> tuple[Insertion, ...]:
        """What the picks insert, in network order."""
        found = {
            site.name: Insertion(site.name, option.reduction, option.dilation)
            for choice, option in self._chosen(picks)
            if not option.off
            for site in choice.sites
        }
        return tuple(found[site.name] for site in self.summary.sites if site.name in found)

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

    def picks(self, insertions: Iterable[Insertion]) -> Picks | None:
        """The picks that compute the same as the insertions; None if the space has none."""
        given = {one.site: one for one in insertions}
        found = []
        for choice in self.choices:
            there = [given.pop(site.name, None) for site in choice.sites]
            number = next(
                (
                    number
                    for number, option in enumerate(choice.options)
                    if all(
                        _same(site, option, one)
                        for site, one in zip(choice.sites, there, strict=True)
                    )
                ),
                None,
            )
            if number is None:
                return None
            found.append(number)
        return None if given else tuple(found)

    def added(self, picks: Sequence[int], quantity: Quantity) -> int:
        """What the picks add to the base, in the unit of :class:`bamsearch.records.Budget`."""
        return sum(option.cost(quantity) for _, option in self._chosen(picks))

    def total(self, picks: Sequence[int], quantity: Quantity) -> int:
        """What the whole network takes, in the unit of :class:`bamsearch.records.Budget`."""
        base = self.summary.base
        of_base = {"gflops": base.macs, "params": base.params, "memory": self.memory, "ms": self.ns}
        return of_base[quantity] + self.added(picks, quantity)

    def largest(self) -> Picks:
        """The design with most parameters of all; of equals with d = 4."""
        return tuple(
            max(range(len(c.options)), key=[_size(option) for option in c.options].__getitem__)
            for c in self.choices
        )

    def inserts_nothing(self, picks: Sequence[int]) -> bool:
        """Whether the picks are the base network."""
        return all(option.off for _, option in self._chosen(picks))

    def number(self, choice: str, label: str) -> int:
        """The number of an option, by its label."""
        return self._numbers[choice, label]

    @cached_property
    def _numbers(self) -> dict[tuple[str, str], int]:
        return {
            (choice.name, option.label): number
            for choice in self.choices
            for number, option in enumerate(choice.options)
        }

    def _chosen(self, picks: Sequence[int]) -> list[tuple[Choice, Option]]:
        pairs = zip(self.choices, picks, strict=True)
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
        sites: at least one.
        pairs: (r, d), in any order.
        costs: of the model's designs.
        optional: whether the sites may stay without BAM.

    Raises:
        SpaceError: more options than a byte can number.
    """
    known: dict[tuple[object, ...], Option] = {}
    for reduction, dilation in sorted(pairs):
        key = tuple(_function(site, reduction, dilation) for site in sites)
        if key not in known:
            added = [costs.added(site.name, reduction) for site in sites]
            known[key] = Option(
                reduction, dilation, sum(c.params for c in added), sum(c.macs for c in added)
            )
    options = (*((Option(),) if optional else ()), *known.values())
    name = sites[0].name if len(sites) == 1 else f"{sites[0].name} to {sites[-1].name}"
    if len(options) > _MOST_OPTIONS:
        raise SpaceError(
            f"{name} has {len(options)} different options, and a search takes {_MOST_OPTIONS}: "
            "give fewer reductions or dilations"
        )
    return Choice(name, tuple(sites), options)


BASE = ("", "")
"""The base's own key in :func:`with_costs`."""


def with_costs(space: SearchSpace, costs: Mapping[tuple[str, str], tuple[int, int]]) -> SearchSpace:
    """The space with the memory in bytes and the nanoseconds of each option filled in.

    Args:
        space: a space whose options have none.
        costs: (choice's name, option's label) to (bytes, nanoseconds); the base's under ``BASE``.
    """
    choices = []
    for choice in space.choices:
        options = []
        for option in choice.options:
            memory, ns = costs.get((choice.name, option.label), (0, 0))
            options.append(replace(option, memory=memory, ns=ns))
        choices.append(replace(choice, options=tuple(options)))
    memory, ns = costs.get(BASE, (0, 0))
    return replace(space, choices=tuple(choices), memory=memory, ns=ns)


def _size(option: Option) -> tuple[int, bool]:
    return option.params, option.dilation == USUAL_DILATION


def _function(site: Site, reduction: int, dilation: int) -> tuple[int, int]:
    return hidden_channels(site.channels, reduction), effective_dilation(site, dilation)


def _same(site: Site, option: Option, one: Insertion | None) -> bool:
    if one is None or option.off:
        return one is None and option.off
    ours = _function(site, option.reduction, option.dilation)
    return ours == _function(site, one.reduction, one.dilation)
