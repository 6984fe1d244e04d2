"""Analysis of a search's trainings: ``learned.json`` beside its ``run.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from bamsearch.errors import RunError
from bamsearch.records.designs import Insertion
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import Mark, Natural, Share

Aspect = Literal["site", "r", "d"]


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of one factor on accuracy, other factors unchanged.

    Attributes:
        aspect: ``site``: BAM at the site, with r and d at the mean of all insertions, against no
            BAM; ``r`` and ``d``: each doubling, at all sites with BAM.
        sites: site names; several if they vary together in all designs. For r and d all sites.
        points: percentage points of validation accuracy.
        low, high: its interval.
        designs: number of designs with BAM at the sites.
    """

    aspect: Aspect
    sites: tuple[str, ...]
    points: float
    low: float
    high: float
    designs: Natural

    @property
    def distinguished(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class AccuracyEstimate:
    """Expected accuracy of a trained design, given all trainings.

    Attributes:
        insertions: insertions; empty for the base.
        mean: expected accuracy of its next training, in percent.
        low, high: interval of that expectation.
        trainings: number of trainings of this design, including those stopped early.
        chance: probability that no other trained design is better, 0..1.
    """

    insertions: tuple[Insertion, ...]
    mean: float
    low: float
    high: float
    trainings: Natural
    chance: Share


@dataclass(frozen=True, slots=True)
class Gain:
    """Expected gain of the first design of the ranking over the base.

    Attributes:
        points: percentage points of validation accuracy.
        low, high: its interval.
    """

    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TrainingAnalysis(Stored):
    """A statistical model of a search's trainings.

    Attributes:
        trainings: number of trainings with a result, including those stopped early.
        noise: standard deviation of one training of a design about its mean, in points.
        shared: part of the noise that a seed shifts all designs by, in points; a difference of two
            trainings with the same seed is free of it.
        regret: expected regret of stopping, in points; None without ``until``, or with too few
            trainings.
        confidence: confidence of each interval, 0.95.
        effects: effects of sites, r and d; empty if there are too few trainings.
        ranking: all trained designs, the highest expected accuracy first.
        gain: gain of the first design of the ranking over the base; None if the base is not in it.
        remarks: further remarks, one sentence each.
    """

    trainings: Natural
    noise: float
    confidence: Share
    effects: tuple[Effect, ...]
    ranking: tuple[AccuracyEstimate, ...]
    gain: Gain | None = None
    remarks: tuple[str, ...] = ()
    shared: float = 0.0
    # Infinite in files of older versions.
    regret: Annotated[float, Mark.ANY_FLOAT] | None = None

    def of(self, insertions: Sequence[Insertion]) -> AccuracyEstimate | None:
        """The estimate for a design; None if it was not trained."""
        wanted = tuple(insertions)
        return next((estimate for estimate in self.ranking if estimate.insertions == wanted), None)


TrainingAnalysis.FORMAT = Format(
    TrainingAnalysis,
    "analysis of trainings",
    RunError,
    "move it away, then 'bamsearch search --resume' makes it again",
    key="bamsearch_learned",
    file="learned.json",
)
