"""What training has shown of a run's designs: ``evidence.json`` beside its ``run.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from bamsearch.errors import RunError
from bamsearch.records.choices import Role
from bamsearch.records.designs import Insertion
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
    seeds: int


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
    seeds: int
    seeds_needed: int | None = None
    detectable: float | None = None
    equivalent: bool = False
    seeds_at_least: int | None = None

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
    """

    data: str
    data_hash: str
    confidence: float
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

    def plan_for(self, data_hash: str) -> VerifyPlan | None:
        """The plan fixed at the first opening of the test split of these data, if there was one."""
        return next((plan for plan in self.plans if plan.data_hash == data_hash), None)

    def is_of(self, role: Role, insertions: tuple[Insertion, ...]) -> bool:
        """Whether that design is the one that was trained; yes where that was not written down."""
        return role not in self.designs or self.designs[role] == insertions

    def to_json(self) -> str:
        """The evidence as indented JSON text, the content of ``evidence.json``."""
        return json.dumps({"bamsearch_evidence": EVIDENCE_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "evidence.json") -> Evidence:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, keys missing or unknown, or made by a newer bamsearch.
        """
        try:
            content = json.loads(text)
            version = content.pop("bamsearch_evidence")
            if type(version) is not int or not 1 <= version <= EVIDENCE_VERSION:
                raise ValueError(
                    f"format {version!r}, this bamsearch reads up to {EVIDENCE_VERSION}"
                )
            content["accuracies"] = {
                _role(role): Accuracy(**one) for role, one in content["accuracies"].items()
            }
            content["differences"] = tuple(Difference(**one) for one in content["differences"])
            for one in content["differences"]:
                _role(one.against)
            content["designs"] = _designs(content.get("designs", {}))
            content["remarks"] = tuple(content.get("remarks", ()))
            content["seeds"] = tuple(content.get("seeds", ()))
            content["plans"] = tuple(VerifyPlan.from_dict(one) for one in content.get("plans", ()))
            content["openings"] = tuple(Opening(**one) for one in content.get("openings", ()))
            return cls(**content)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(
                f"{source} is no evidence that this bamsearch reads ({error}): "
                "make it again, or move it away"
            ) from error


def _designs(content: Mapping[str, Any]) -> dict[Role, tuple[Insertion, ...]]:
    return {_role(role): tuple(Insertion(**one) for one in many) for role, many in content.items()}


def _role(role: str) -> Role:
    found = {str(one): one for one in get_args(Role)}
    if role not in found:
        raise ValueError(f"{role!r} is none of {', '.join(found)}")
    result: Role = found[role]
    return result
