"""Training evidence on a run's designs: ``evidence.json`` beside its ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.choices import Role
from bamsearch.records.codec import Format
from bamsearch.records.designs import Insertion
from bamsearch.records.hints import Natural, Share
from bamsearch.records.openings import AnalysisPlan, Opening, Over

EVIDENCE_VERSION = 2
"""Format of ``evidence.json``; format 1, without plans, openings and seeds, is read too."""

Verdict = Literal["better", "worse", "equivalent", "not distinguished"]
"""Verdict on the best design against another one."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a trained design on data unseen by training and search.

    Attributes:
        mean: mean over the seeds, in percent.
        low: lower end of its interval.
        high: upper end.
        seeds: number of trainings.
    """

    mean: float
    low: float
    high: float
    seeds: Natural


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of the best design minus that of another one, over pairs with the same seed.

    Attributes:
        against: role of the other design.
        points: percentage points, above 0 if the best design is better.
        low: lower end of the interval.
        high: upper end.
        seeds: number of pairs.
        seeds_needed: pairs that would detect a difference of ``detectable`` points with 80% power,
            for the upper 90% limit of the spread (format 1: for the spread measured); None if
            unknown.
        detectable: the difference that ``seeds_needed`` is for, in points.
        equivalent: whether the interval lies inside the margin of :class:`Evidence`.
        seeds_at_least: the same as ``seeds_needed`` for the lower 90% limit of the spread.
    """

    against: Role
    points: float
    low: float
    high: float
    seeds: Natural
    seeds_needed: Natural | None = None
    detectable: float | None = None
    equivalent: bool = False
    seeds_at_least: Natural | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict from the interval."""
        if self.distinguished:
            return "better" if self.points > 0 else "worse"
        return "equivalent" if self.equivalent else "not distinguished"

    @property
    def distinguished(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Evidence:
    """Trained comparisons of a run's designs.

    Attributes:
        data: name of the data, as in ``--data``.
        data_hash: hash of the data.
        confidence: simultaneous confidence of all differences, and confidence of each accuracy:
            0.95.
        accuracies: accuracies of the trained designs.
        differences: best design minus each other design; the base is first.
        command: command line.
        margin: differences smaller than this many points count as equivalent; None without one.
        designs: trained designs. A resumed search may have a different best design later.
        remarks: remarks on the trainings, one sentence each.
        seeds: training seeds; empty if an older bamsearch did not record them.
        over: variation covered by the intervals; None means seeds (older versions of bamsearch).
        exploratory: reason why error rates do not hold, a sentence; empty if they do.
        plans: all plans under which a test split was opened; the first of each data set counts.
        openings: all looks at a test split, oldest first; later ones are appended.

    Raises:
        InvalidValueError: an opening under a plan that is not listed.
    """

    data: str
    data_hash: str
    confidence: Share
    accuracies: Mapping[Role, Accuracy]
    differences: tuple[Difference, ...]
    command: str = ""
    margin: float | None = None
    designs: Mapping[Role, tuple[Insertion, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    over: Over | None = None
    exploratory: str = ""
    plans: tuple[AnalysisPlan, ...] = ()
    openings: tuple[Opening, ...] = ()

    def __post_init__(self) -> None:
        for opening in self.openings:
            if opening.plan is not None and opening.plan >= len(self.plans):
                raise InvalidValueError(
                    f"an opening has plan {opening.plan}, but only {len(self.plans)} are listed"
                )

    def plan_for(self, data_hash: str) -> AnalysisPlan | None:
        """The plan fixed at the first opening of this data set's test split, if any."""
        return next((plan for plan in self.plans if plan.data_hash == data_hash), None)

    def is_of(self, role: Role, insertions: tuple[Insertion, ...]) -> bool:
        """Whether the design was the trained one; True if that was not recorded."""
        return role not in self.designs or self.designs[role] == insertions

    def to_json(self) -> str:
        """The evidence as indented JSON text, the content of ``evidence.json``."""
        return EVIDENCE.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "evidence.json") -> Evidence:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, a key or value that does not fit, or made by a newer bamsearch.
        """
        return EVIDENCE.parse(text, source)


EVIDENCE: Format[Evidence] = Format(
    Evidence,
    "evidence file",
    RunError,
    "make it again, or move it away",
    key="bamsearch_evidence",
    version=EVIDENCE_VERSION,
)
