"""Budgets: limits on the cost of designs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bamsearch.records.hints import Amount

Quantity = Literal["gflops", "params", "memory", "ms"]
"""Quantities that a budget can limit; ``gflops`` are fvcore's, 1 multiply-add = 1 FLOP."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that all scored designs meet.

    Attributes:
        quantity: the limited quantity.
        text: the limit as typed: ``8``, ``45M``, ``+2%``.
        limit: largest feasible value, in multiply-adds, parameters, bytes or nanoseconds.
        base: cost of the base network, in the same unit.
    """

    quantity: Quantity
    text: str
    limit: Amount
    base: Amount

    @property
    def slack(self) -> int:
        """Cost that all BAMs together may add; negative if the base is over the budget."""
        return self.limit - self.base

    def admits(self, cost: float) -> bool:
        """Whether a total cost, in the unit of the limit, is within the budget."""
        return cost <= self.limit
