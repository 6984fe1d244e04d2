"""What a supernet is to be trained for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bamsearch.records import Design
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.space import SlotSpace
from bamsearch.training.start import Start

KIND = "supernet"

Draw = Callable[[np.random.Generator], Design]
"""A feasible design, decided by the random numbers alone."""


@dataclass(frozen=True, slots=True, eq=False)
class SupernetPlan:
    """A space, and the designs in it that count.

    Attributes:
        space: what the supernet must be able to become.
        draw: a random feasible design.
        largest: the largest feasible design.
        smallest: the smallest: the base, unless a site must have BAM.
        options: how it is trained and scored.
        start: the base before the training, such as :func:`start_with` makes with trained weights,
            or a module of the caller's; None has random weights of the seed.
    """

    space: SlotSpace
    draw: Draw
    largest: Design
    smallest: Design
    options: SupernetOptions = field(default_factory=SupernetOptions)
    start: Start | None = None

    def designs(self, seed: int, epoch: int, step: int) -> list[Design]:
        """The designs that a step trains: largest, smallest, random; the base in the warm-up."""
        if epoch < self.options.warmup:
            return [self.space.base]
        numbers = np.random.default_rng([seed, epoch, step])
        fixed = [self.largest, self.smallest] if self.options.sandwich else []
        return [*dict.fromkeys(fixed), *(self.draw(numbers) for _ in range(self.options.paths))]

    def shown(self, epoch: int) -> Design:
        """The design whose accuracy is looked at after an epoch."""
        return self.space.base if epoch < self.options.warmup else self.largest

    def about(self) -> dict[str, Any]:
        """What of it decides the weights, as plain values; ``draw`` cannot be told."""
        return {
            "kind": KIND,
            **self.space.to_dict(),
            "options": self.options.to_dict(),
            "largest": _placed(self.largest),
            "smallest": _placed(self.smallest),
        }


def _placed(design: Design) -> list[str]:
    return [f"{one.site} r{one.reduction} d{one.dilation}" for one in design.insertions]
