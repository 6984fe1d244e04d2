"""What is trained, and how a step of it goes: of a network, or of many that share weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bamsearch.training.loop import Live, Step, take_step, validate
from bamsearch.training.start import Start


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A training to be done.

    Attributes:
        start: its module is trained.
        step: takes a step.
        validate: after an epoch, given its number: mean cross-entropy over the validation images,
            and how many of them are right.
        about: what else than start, data, recipe and seed decides the result, as plain values; a
            training that goes on must have the same.
    """

    start: Start
    step: Step = take_step
    validate: Callable[[Live, int], tuple[float, int]] = validate
    about: Mapping[str, Any] = field(default_factory=dict)
