"""Openings of the test split: their times, plans and conclusions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from bamsearch.records.hints import Natural, Positive, Range, Share

Over = Literal["seeds", "images"]
"""``seeds``: other seeds, on these test images; ``images``: also other images."""

Expected = Literal["better", "not-worse"]
"""Expectations of ``verify --expect``, of the best design against the base."""


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
