"""What a design may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bamsearch.records.hints import Amount

Quantity = Literal["gflops", "params", "memory", "ms"]
"""What a budget limits; ``gflops`` are fvcore's, 1 multiply-add = 1 FLOP."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that every scored design keeps.

    Attributes:
        quantity: what is limited.
        text: as it was asked for: ``8``, ``45M``, ``+2%``.
        limit: the largest that fits, in multiply-adds, parameters, bytes or nanoseconds.
        base: what the base network takes, in the same unit.
    """

    quantity: Quantity
    text: str
    limit: Amount
    base: Amount

    @property
    def slack(self) -> int:
        """What all BAMs together may add; negative where the base is over the budget."""
        return self.limit - self.base
