"""Which designs of a run are trained: what was found, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import NothingToDoError
from bamsearch.records import Design, ModelSummary, ReferenceKind, Role, RunRecord
from bamsearch.searching.proposers import RandomProposer
from bamsearch.searching.request import planned_again

LABELS: dict[Role, str] = {
    "base": "base",
    "paper": "paper default",
    "largest": "largest that fits",
    "random": "random",
    "found": "found",
}

# Another order than that of a search, or of its random search, with the same seed.
_OTHER_SEED = 2_000_003


@dataclass(frozen=True, slots=True)
class Network:
    """A design that is trained, once for all that it is.

    Attributes:
        design: what is built.
        roles: what it is, such as both the paper default and the largest that fits.
    """

    design: Design
    roles: tuple[Role, ...]

    @property
    def name(self) -> str:
        """The word for it in the names of folders."""
        return "found" if "found" in self.roles else self.roles[0]

    @property
    def label(self) -> str:
        """``paper default, largest that fits``."""
        return ", ".join(LABELS[role] for role in self.roles)

    @property
    def text(self) -> str:
        """The insertions: ``layer1 r8 d2, layer3 r16 d4``, or ``no BAM``."""
        many = (f"{i.site} r{i.reduction} d{i.dilation}" for i in self.design.insertions)
        return ", ".join(many) or "no BAM"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is trained.

    Attributes:
        networks: base, paper default, largest, random and found, equal ones once; found last.
        designs: as the run has them.
        remarks: what is left out or drawn, and equal, a sentence each.
    """

    networks: tuple[Network, ...]
    designs: Mapping[Role, Design]
    remarks: tuple[str, ...]

    @property
    def comparisons(self) -> int:
        """With how many networks what was found is compared."""
        return len(self.networks) - 1


def choose(record: RunRecord) -> Chosen:
    """The designs of a run that are trained.

    The random one is the best of the run's random search; without one it is drawn uniformly from
    all designs that fit.

    Raises:
        NothingToDoError: nothing was found, or that is the base itself.
    """
    run, best = record.run, record.best
    if best is None:
        raise NothingToDoError(
            f"run {run.name} has no score yet: 'bamsearch search --resume {run.name}' goes on"
        )
    if not best.design.insertions:
        raise NothingToDoError(
            f"run {run.name} found nothing better than the base: there is nothing to compare"
        )
    designs: dict[Role, Design] = {"base": run.design(())}
    remarks = []
    kinds: tuple[ReferenceKind, ...] = ("paper", "largest")
    for kind in kinds:
        reference = record.reference(kind)
        if reference is None:
            remarks.append(f"The {LABELS[kind]} has no score in the run and is not trained.")
        else:
            designs[kind] = reference.design
    random = record.reference("random")
    if random is not None:
        designs["random"] = random.design
    else:
        designs["random"] = _random_design(record)
        remarks.append(
            "The random design is drawn from those that fit: there was no random search."
        )
    designs["found"] = best.design
    networks = _merged(designs, run.summary)
    for network in networks:
        if len(network.roles) > 1:
            names = " and ".join(LABELS[role] for role in network.roles)
            remarks.append(f"One network, trained once: {names}.")
    return Chosen(networks, designs, tuple(remarks))


def _random_design(record: RunRecord) -> Design:
    feasible = planned_again(record.run).feasible
    picks = next(RandomProposer(feasible, record.run.seed + _OTHER_SEED).order())
    return record.run.design(feasible.space.insertions(picks))


def _merged(designs: Mapping[Role, Design], summary: ModelSummary) -> tuple[Network, ...]:
    """Networks in the order of their first roles; found is the last."""
    sites = {site.name: site for site in summary.sites}

    def computes(design: Design) -> frozenset[tuple[str, int, int]]:
        inserted = []
        for insertion in design.insertions:
            site = sites[insertion.site]
            width = hidden_channels(site.channels, insertion.reduction)
            inserted.append((insertion.site, width, effective_dilation(site, insertion.dilation)))
        return frozenset(inserted)

    together: dict[frozenset[tuple[str, int, int]], list[Role]] = {}
    for role, design in designs.items():
        together.setdefault(computes(design), []).append(role)
    networks = [Network(designs[roles[-1]], tuple(roles)) for roles in together.values()]
    return tuple(sorted(networks, key=lambda network: "found" in network.roles))
