"""Types of plain tables inside records: space, recipe, conditions of predicted times."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from bamsearch.records.hints import Milliseconds, Positive


class SpaceTable(TypedDict):
    """A search space's file, see :mod:`bamsearch.space.space`."""

    name: str
    description: NotRequired[str]
    sites: NotRequired[str | list[str]]
    reductions: NotRequired[list[Positive]]
    dilations: NotRequired[list[Positive]]
    optional: NotRequired[bool]
    together: NotRequired[bool]
    at: NotRequired[dict[str, dict[str, Any]]]


class RecipeTable(TypedDict):
    """A training recipe, see :class:`bamsearch.training.recipe.Recipe`."""

    name: str
    epochs: Positive
    batch_size: Positive
    lr: float
    precision: str


class LatencyFacts(TypedDict):
    """Conditions and error of predicted times, see :mod:`bamsearch.space.measured_costs`."""

    device: str
    batch_size: Positive
    dtype: str
    mode: str
    threads: Positive | None
    samples: Positive
    base_ms: Milliseconds
    worst_error: float
