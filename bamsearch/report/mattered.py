"""Effects of sites, r and d on accuracy, and the ranking of designs, from all trainings."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import Design, Effect, Estimate, Learned, RunRecord
from bamsearch.report.comparison import LABELS
from bamsearch.report.text import count_text
from bamsearch.text import printable


@dataclass(frozen=True, slots=True)
class Ranked:
    """A design of the ranking.

    Attributes:
        rank: rank among all trained designs, from 1.
        role: ``found``, ``base``, ``paper default`` or ``largest that fits``, the first that
            applies; empty for other designs.
        design: the design.
        estimate: its expected accuracy.
    """

    rank: int
    role: str
    design: Design
    estimate: Estimate

    @property
    def label(self) -> str:
        """``3``, ``3 base`` or ``3 best design``."""
        role = "best design" if self.role == "found" else self.role
        return f"{self.rank} {role}".rstrip()


@dataclass(frozen=True, slots=True)
class Mattered:
    """The analysis of a search's trainings, as reports show it.

    Attributes:
        learned: the analysis.
        effects: effects, the largest in absolute value first.
        ranking: all trained designs.
    """

    learned: Learned
    effects: tuple[Effect, ...]
    ranking: tuple[Ranked, ...]

    def top(self, number: int) -> tuple[Ranked, ...]:
        """The first designs of the ranking, and all those with a role."""
        return tuple(ranked for ranked in self.ranking if ranked.rank <= number or ranked.role)

    @property
    def sentence(self) -> str:
        """Number of trainings and standard deviation of one of them, in words."""
        trainings = count_text(self.learned.trainings, "training")
        designs = count_text(len(self.ranking), "design")
        spread = f"{self.learned.noise:.2f} points"
        return f"{trainings} of {designs}; the standard deviation of one training is {spread}."


def mattered(record: RunRecord) -> Mattered | None:
    """Effects and ranking of a run; None if no training has finished."""
    learned = record.learned
    if record.run.score != "train" or learned is None or not learned.ranking:
        return None
    roles = {} if record.best is None else {record.best.design.insertions: "found"}
    for kind in ("base", "paper", "largest"):
        reference = record.reference(kind)
        if reference is not None:
            label = LABELS[kind].replace(" (r16 d4)", "")
            roles.setdefault(reference.design.insertions, label)
    ranking = tuple(
        Ranked(rank, roles.get(each.insertions, ""), record.run.design(each.insertions), each)
        for rank, each in enumerate(learned.ranking, start=1)
    )
    effects = sorted(learned.effects, key=lambda effect: -abs(effect.points))
    return Mattered(learned, tuple(effects), ranking)


def effect_text(effect: Effect) -> str:
    """``BAM at layer3``, ``r doubled``."""
    if effect.aspect == "site":
        return f"BAM at {' and '.join(map(printable, effect.sites))}"
    return f"{effect.aspect} doubled"


def interval_text(low: float, high: float, *, signed: bool = False) -> str:
    """``[90.12, 91.30]``, or ``[-0.10, +0.30]``."""
    form = "+.2f" if signed else ".2f"
    return f"[{low:{form}}, {high:{form}}]"


def chance_text(chance: float) -> str:
    """``63%``; never 0% or 100%, as a model's probabilities are not certainties."""
    if chance < 0.01:
        return "<1%"
    if chance > 0.99:
        return ">99%"
    return f"{chance:.0%}"
