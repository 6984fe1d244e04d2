"""Effects of sites, r and d on accuracy, and the ranking of designs, from all trainings."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import AccuracyEstimate, Design, Effect, RunRecord, TrainingAnalysis
from bamsearch.reporting.comparison import SHORT_LABELS
from bamsearch.reporting.text import count_text
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
    estimate: AccuracyEstimate

    @property
    def kind(self) -> str:
        """The role in words; empty for other designs."""
        return SHORT_LABELS["found"] if self.role == "found" else self.role

    @property
    def label(self) -> str:
        """``3``, ``3 base`` or ``3 best design``."""
        return f"{self.rank} {self.kind}".rstrip()


@dataclass(frozen=True, slots=True)
class TrainingEffects:
    """The analysis of a search's trainings, as reports show it.

    Attributes:
        analysis: the analysis.
        effects: effects, the largest in absolute value first.
        ranking: all trained designs.
    """

    analysis: TrainingAnalysis
    effects: tuple[Effect, ...]
    ranking: tuple[Ranked, ...]

    def top(self, number: int) -> tuple[Ranked, ...]:
        """The first designs of the ranking, and all those with a role."""
        return tuple(ranked for ranked in self.ranking if ranked.rank <= number or ranked.role)

    @property
    def sentence(self) -> str:
        """Number of trainings and standard deviation of one of them, in words."""
        trainings = count_text(self.analysis.trainings, "training")
        designs = count_text(len(self.ranking), "design")
        spread = f"{self.analysis.noise:.2f} points"
        return f"{trainings} of {designs}; the standard deviation of one training is {spread}."


def training_effects(record: RunRecord) -> TrainingEffects | None:
    """Effects and ranking of a run; None if no training has finished."""
    analysis = record.analysis
    if not record.run.trained or analysis is None or not analysis.ranking:
        return None
    roles = {} if record.best is None else {record.best.design.insertions: "found"}
    for kind in ("base", "paper", "largest"):
        baseline = record.baseline(kind)
        if baseline is not None:
            roles.setdefault(baseline.design.insertions, SHORT_LABELS[kind])
    ranking = tuple(
        Ranked(rank, roles.get(each.insertions, ""), record.run.design(each.insertions), each)
        for rank, each in enumerate(analysis.ranking, start=1)
    )
    effects = sorted(analysis.effects, key=lambda effect: -abs(effect.points))
    return TrainingEffects(analysis, tuple(effects), ranking)


def effect_text(effect: Effect) -> str:
    """``BAM at layer3``, ``r doubled``."""
    if effect.aspect == "site":
        return f"BAM at {' and '.join(map(printable, effect.sites))}"
    return f"{effect.aspect} doubled"


def chance_text(chance: float) -> str:
    """``63%``; never 0% or 100%, as a model's probabilities are not certainties."""
    if chance < 0.01:
        return "<1%"
    if chance > 0.99:
        return ">99%"
    return f"{chance:.0%}"
