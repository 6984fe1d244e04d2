"""What a search has learnt from trainings: ``learned.json`` beside its ``run.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from bamsearch.errors import RunError
from bamsearch.records.codec import Format
from bamsearch.records.designs import Insertion
from bamsearch.records.hints import Mark, Natural, Share

LEARNED_VERSION = 1
"""Format of ``learned.json``."""

Aspect = Literal["site", "r", "d"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one factor does to accuracy, other factors as they are.

    Attributes:
        aspect: ``site``: BAM there, with r and d at the mean of all insertions, against none there;
            ``r`` and ``d``: each doubling of it, at every site that has BAM.
        sites: names; several where they go together in every design. All of the search for r, d.
        points: percentage points of validation accuracy.
        low: lower end of its interval.
        high: upper end.
        designs: that have BAM there.
    """

    aspect: Aspect
    sites: tuple[str, ...]
    points: float
    low: float
    high: float
    designs: Natural

    @property
    def distinguished(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is expected of a design that was trained, given all trainings.

    Attributes:
        insertions: the design's; none is the base.
        mean: accuracy in per cent that its next training is expected to have.
        low: lower end of the interval of that expectation.
        high: upper end.
        trainings: of this design, those stopped early included.
        chance: that no other design that was trained is better, 0..1.
    """

    insertions: tuple[Insertion, ...]
    mean: float
    low: float
    high: float
    trainings: Natural
    chance: Share


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the first of the ranking is expected to be better than the base.

    Attributes:
        points: of accuracy on the validation images.
        low: lower end of its interval.
        high: upper end.
    """

    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Learned:
    """Trainings of a search, seen through a model of them.

    Attributes:
        trainings: with a result, those stopped early included.
        noise: standard deviation of one training of a design about its mean, in points.
        shared: the part of it that a seed does to all designs alike, in points; a difference of two
            trainings with one seed is free of it.
        regret: expected regret of stopping, in points; None where the run has no ``until``, or too
            few trainings.
        confidence: of each interval, 0.95.
        effects: of sites, r and d; none where the trainings are too few to tell.
        ranking: of all designs trained, the greatest expectation first.
        gain: of the first of the ranking over the base; None where that is not in the ranking.
        remarks: what else is to be known, a sentence each.
    """

    trainings: Natural
    noise: float
    confidence: Share
    effects: tuple[Effect, ...]
    ranking: tuple[Estimate, ...]
    gain: Gain | None = None
    remarks: tuple[str, ...] = ()
    shared: float = 0.0
    # Infinite in files of older versions.
    regret: Annotated[float, Mark.ANY_FLOAT] | None = None

    def of(self, insertions: Sequence[Insertion]) -> Estimate | None:
        """The estimate of a design; None if it was not trained."""
        wanted = tuple(insertions)
        return next((estimate for estimate in self.ranking if estimate.insertions == wanted), None)

    def to_json(self) -> str:
        """As indented JSON text, the content of ``learned.json``."""
        return LEARNED.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "learned.json") -> Learned:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, a key or value that does not fit, or made by a newer bamsearch.
        """
        return LEARNED.parse(text, source)


LEARNED: Format[Learned] = Format(
    Learned,
    "analysis of trainings",
    RunError,
    "move it away, and 'bamsearch search --resume' makes it again",
    key="bamsearch_learned",
    version=LEARNED_VERSION,
)
