"""What a search has learnt from trainings: ``learned.json`` beside its ``run.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bamsearch.errors import RunError
from bamsearch.records.designs import Insertion

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
    designs: int

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
    trainings: int
    chance: float


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
        regret: expected regret of stopping, in points; None where the run has no ``until``.
        confidence: of each interval, 0.95.
        effects: of sites, r and d; none where the trainings are too few to tell.
        ranking: of all designs trained, the greatest expectation first.
        gain: of the first of the ranking over the base; None where that is not in the ranking.
        remarks: what else is to be known, a sentence each.
    """

    trainings: int
    noise: float
    confidence: float
    effects: tuple[Effect, ...]
    ranking: tuple[Estimate, ...]
    gain: Gain | None = None
    remarks: tuple[str, ...] = ()
    shared: float = 0.0
    regret: float | None = None

    def of(self, insertions: Sequence[Insertion]) -> Estimate | None:
        """The estimate of a design; None if it was not trained."""
        wanted = tuple(insertions)
        return next((one for one in self.ranking if one.insertions == wanted), None)

    def to_json(self) -> str:
        """As indented JSON text, the content of ``learned.json``."""
        return json.dumps({"bamsearch_learned": LEARNED_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "learned.json") -> Learned:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, keys missing or unknown, or made by a newer bamsearch.
        """
        try:
            content = json.loads(text)
            version = content.pop("bamsearch_learned")
            if version != LEARNED_VERSION:
                raise ValueError(f"format {version!r}, this bamsearch reads {LEARNED_VERSION}")
            content["effects"] = tuple(
                Effect(**(one | {"sites": tuple(one["sites"])})) for one in content["effects"]
            )
            content["ranking"] = tuple(_estimate(one) for one in content["ranking"])
            if content["gain"] is not None:
                content["gain"] = Gain(**content["gain"])
            content["remarks"] = tuple(content["remarks"])
            return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(
                f"{source} is not what this bamsearch reads ({error}): "
                "move it away, and 'bamsearch search --resume' makes it again"
            ) from error


def _estimate(content: Mapping[str, Any]) -> Estimate:
    insertions = tuple(Insertion(**one) for one in content["insertions"])
    return Estimate(**(dict(content) | {"insertions": insertions}))
