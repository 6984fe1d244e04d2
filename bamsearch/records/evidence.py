"""Training evidence on a run's designs: ``evidence.json`` beside its ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.arguments import Role
from bamsearch.records.designs import Insertion
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import Natural, Positive, Range, Share

Over = Literal["seeds", "images"]
"""``seeds``: other seeds, on these test images; ``images``: also other images."""

Expected = Literal["better", "not-worse"]
"""Expectations of ``verify --expect``, of the best design against the base."""

Verdict = Literal["better", "worse", "equivalent", "not distinguished"]
"""Verdict on the best design against another one."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy of a trained design on data unseen by training and search.

    Attributes:
        mean: mean over the seeds, in percent.
        low, high: its interval.
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
        low, high: its interval.
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
class AnalysisPlan:
    """Everything that determines the error rate of a verification, fixed before the first look.

    Attributes:
        data_hash: hash of the data whose test split is opened.
        networks: each network as text, such as ``base: no BAM``.
        first: first seed.
        seeds: largest number of pairs of each comparison.
        looks: pairs at each look; the last is ``seeds``.
        level: two-sided nominal level of each comparison's interval at each look.
        recipe: training recipe.
        weights: weights that the trainings start from; None: random weights.
    """

    data_hash: str
    networks: Annotated[tuple[str, ...], Range(1)]
    first: int
    seeds: Natural
    looks: Annotated[tuple[Positive, ...], Range(1)]
    level: Share
    recipe: Mapping[str, Any]
    weights: str | None = None

    @property
    def comparisons(self) -> int:
        """Number of comparisons of the best design with the other networks."""
        return len(self.networks) - 1

    def changes(self, now: AnalysisPlan) -> list[str]:
        """Differences of a later plan from this one, in words; empty if the plans are the same."""
        pairs = [
            (f"up to {self.seeds} seeds", f"up to {now.seeds}", self.seeds, now.seeds),
            (_looks(self), _looks(now), self.looks, now.looks),
            (f"seeds from {self.first}", f"from {now.first}", self.first, now.first),
            ("other networks", "these", self.networks, now.networks),
            ("another recipe", "this", dict(self.recipe), dict(now.recipe)),
            ("other weights", "these", self.weights, now.weights),
        ]
        return [f"{before}, not {after}" for before, after, was, new in pairs if was != new]


@dataclass(frozen=True, slots=True)
class Opening:
    """One look at the test split.

    Attributes:
        date: date and time, UTC; empty if an older bamsearch did not record it.
        command: command line.
        plan: index of its plan in the evidence; None if an older bamsearch recorded none.
        seeds: largest number of pairs of a comparison so far.
        images: number of test images; None if an older bamsearch did not record it.
        concluded: conclusions of this look; empty while it is running, or if it was interrupted.
    """

    date: str
    command: str
    plan: Natural | None
    seeds: Natural
    images: Natural | None
    concluded: str = ""


def _looks(plan: AnalysisPlan) -> str:
    pairs = ", ".join(map(str, plan.looks))
    return f"looks at {pairs} seeds" if len(plan.looks) > 1 else f"one look at {pairs} seeds"


@dataclass(frozen=True, slots=True)
class Evidence(Stored):
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


# Format 1, without plans, openings and seeds, is read too.
Evidence.FORMAT = Format(
    Evidence,
    "evidence file",
    RunError,
    "make it again, or move it away",
    key="bamsearch_evidence",
    version=2,
    file="evidence.json",
)
