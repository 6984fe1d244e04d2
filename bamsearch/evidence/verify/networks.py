"""The designs of a run that are trained: the best design and its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import NothingToDoError
from bamsearch.records import BaselineKind, Design, ModelSummary, Role, RunRecord
from bamsearch.sampler.basic_samplers import RandomSampler
from bamsearch.study.request import plan_of_run

# Plans store these texts and are compared by them: a change would make old runs exploratory.
LABELS: dict[Role, str] = {
    "base": "base",
    "paper": "paper default",
    "largest": "largest that fits",
    "random": "random",
    "found": "found",
}

# Differs from the order of a search, or of its random search, with the same seed.
_OTHER_SEED = 2_000_003


@dataclass(frozen=True, slots=True)
class ComparedNetwork:
    """A design that is trained, once for all its roles.

    Attributes:
        design: the design.
        roles: its roles, such as both the paper default and the largest that fits.
    """

    design: Design
    roles: tuple[Role, ...]

    @property
    def name(self) -> str:
        """Name in folder names."""
        return "found" if "found" in self.roles else self.roles[0]

    @property
    def label(self) -> str:
        """``paper default, largest that fits``."""
        return ", ".join(LABELS[role] for role in self.roles)

    @property
    def text(self) -> str:
        """The insertions: ``layer1 r8 d2, layer3 r16 d4``, or ``no BAM``."""
        texts = (f"{i.site} r{i.reduction} d{i.dilation}" for i in self.design.insertions)
        return ", ".join(texts) or "no BAM"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The networks to train.

    Attributes:
        networks: baselines and best design, without duplicates; the best design is the last.
        designs: design of each role.
        remarks: remarks on missing, drawn and equal designs, one sentence each.
    """

    networks: tuple[ComparedNetwork, ...]
    designs: Mapping[Role, Design]
    remarks: tuple[str, ...]

    @property
    def comparisons(self) -> int:
        """Number of networks that the best design is compared with."""
        return len(self.networks) - 1


def choose(record: RunRecord) -> Chosen:
    """The designs of a run that are trained.

    The random one is the best of the run's random search; without one it is drawn uniformly from
    all feasible designs.

    Raises:
        NothingToDoError: there is no best design yet, or it is the base.
    """
    run, best = record.run, record.best
    if best is None:
        raise NothingToDoError(
            f"run {run.name} has no score yet: 'bamsearch search --resume {run.name}' continues it"
        )
    if not best.design.insertions:
        raise NothingToDoError(
            f"the best design of run {run.name} is the base itself: there is nothing to compare"
        )
    designs: dict[Role, Design] = {"base": run.design(())}
    remarks = []
    kinds: tuple[BaselineKind, ...] = ("paper", "largest")
    for kind in kinds:
        baseline = record.baseline(kind)
        if baseline is None:
            remarks.append(f"The {LABELS[kind]} has no score in the run and is not trained.")
        else:
            designs[kind] = baseline.design
    random = record.baseline("random")
    if random is not None:
        designs["random"] = random.design
    else:
        designs["random"] = _random_design(record)
        remarks.append(
            "The random design is drawn from the feasible designs: there was no random search."
        )
    designs["found"] = best.design
    networks = _merged(designs, run.summary)
    for network in networks:
        if len(network.roles) > 1:
            names = " and ".join(LABELS[role] for role in network.roles)
            remarks.append(f"One network, trained once: {names}.")
    return Chosen(networks, designs, tuple(remarks))


def _random_design(record: RunRecord) -> Design:
    feasible = plan_of_run(record.run).feasible
    encoding = next(RandomSampler(feasible, record.run.seed + _OTHER_SEED).order())
    return record.run.design(feasible.space.insertions(encoding))


def _merged(designs: Mapping[Role, Design], summary: ModelSummary) -> tuple[ComparedNetwork, ...]:
    """Networks in the order of their first roles; the best design is the last."""
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
    networks = [ComparedNetwork(designs[roles[-1]], tuple(roles)) for roles in together.values()]
    return tuple(sorted(networks, key=lambda network: "found" in network.roles))
