"""What training has shown of a run's designs: ``evidence.json`` beside its ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.choices import Role
from bamsearch.records.codec import Format
from bamsearch.records.designs import Insertion
from bamsearch.records.hints import Natural, Share
from bamsearch.records.openings import Opening, Over, VerifyPlan

EVIDENCE_VERSION = 2
"""Format of ``evidence.json``; format 1 had no plans, openings and seeds, and is read too."""

Verdict = Literal["better", "worse", "equivalent", "not distinguished"]
"""Of what was found against another design."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a trained design on data that neither training nor search has seen.

    Attributes:
        mean: over the seeds, in per cent.
        low: lower end of its interval.
        high: upper end.
        seeds: how many trainings.
    """

    mean: float
    low: float
    high: float
    seeds: Natural


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of what was found, less that of another design, over pairs with the same seed.

    Attributes:
        against: which other one.
        points: percentage points, above 0 where what was found is better.
        low: lower end of the interval.
        high: upper end.
        seeds: pairs.
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
        """What the interval says."""
        if self.distinguished:
            return "better" if self.points > 0 else "worse"
        return "equivalent" if self.equivalent else "not distinguished"

    @property
    def distinguished(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Evidence:
    """Trained comparisons of a run's designs.

    Attributes:
        data: its name, as given to ``--data``.
        data_hash: of what was trained and tested on.
        confidence: of the intervals of all differences together, and of each accuracy's, 0.95.
        accuracies: of the designs that were trained.
        differences: to what was found; the one to the base first.
        command: that made it.
        margin: differences within it, in points, are taken for none; None if that was not asked.
        designs: that were trained. A search that goes on may find others.
        remarks: what else is to be known of the trainings, a sentence each.
        seeds: of the trainings; empty where an older bamsearch did not record them.
        over: what the intervals are over; None where an older bamsearch did not record it, and
            they are over seeds.
        exploratory: why error rates do not hold, a sentence; empty where they do.
        plans: all plans under which a test split was opened; the first one of each data set counts.
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
    plans: tuple[VerifyPlan, ...] = ()
    openings: tuple[Opening, ...] = ()

    def __post_init__(self) -> None:
        for opening in self.openings:
            if opening.plan is not None and opening.plan >= len(self.plans):
                raise InvalidValueError(
                    f"an opening is under plan {opening.plan}, and {len(self.plans)} are listed"
                )

    def plan_for(self, data_hash: str) -> VerifyPlan | None:
        """The plan fixed at the first opening of the test split of these data, if there was one."""
        return next((plan for plan in self.plans if plan.data_hash == data_hash), None)

    def is_of(self, role: Role, insertions: tuple[Insertion, ...]) -> bool:
        """Whether that design is the one that was trained; yes where that was not written down."""
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
