"""When the test split was opened, under which plan, and what was concluded each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from bamsearch.records.hints import Natural, Positive, Range, Share

Over = Literal["seeds", "images"]
"""``seeds``: another set of seeds, on these test images; ``images``: other images as well."""

Expected = Literal["better", "not-worse"]
"""Expectations of ``verify --expect``, of the best design against the base."""


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """Everything that the error rate of a verification rests on, fixed before the first look.

    Attributes:
        data_hash: hash of the data whose test split is opened.
        networks: each network as text, such as ``base: no BAM``.
        first: first seed.
        seeds: pairs of each comparison, at most.
        looks: pairs at each look, the last one being ``seeds``.
        level: nominal level of an interval, two-sided: at each look, of each comparison.
        recipe: recipe of the trainings.
        weights: weights that the trainings start from; None is random.
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
        """Comparisons of the best design with the other networks."""
        return len(self.networks) - 1

    def changes(self, now: VerifyPlan) -> list[str]:
        """Differences of a later plan to this one, in words; none if both are the same plan."""
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
        date: date and time, UTC; empty where an older bamsearch did not record it.
        command: command line.
        plan: index of its plan in the evidence; None where an older bamsearch recorded none.
        seeds: pairs of a comparison so far, at most.
        images: test images; None where an older bamsearch did not record them.
        concluded: conclusions of this look; empty while the look is at work, or was interrupted.
    """

    date: str
    command: str
    plan: Natural | None
    seeds: Natural
    images: Natural | None
    concluded: str = ""


def _looks(plan: VerifyPlan) -> str:
    pairs = ", ".join(map(str, plan.looks))
    return f"looks at {pairs} seeds" if len(plan.looks) > 1 else f"one look at {pairs} seeds"
