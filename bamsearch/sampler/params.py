"""A search space as Optuna parameters: one per choice, with the labels of its options as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from bamsearch.records import Objective
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.space.feasible import Feasible


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The Optuna distributions of a space, by the names of the choices."""
    return {
        choice.name: CategoricalDistribution([option.label for option in choice.options])
        for choice in space.choices
    }


def params_of(space: SearchSpace, encoding: Encoding) -> dict[str, str]:
    """A design as Optuna parameters."""
    return {
        choice.name: choice.options[number].label
        for choice, number in zip(space.choices, encoding, strict=True)
    }


def encoding_of(space: SearchSpace, params: dict[str, Any]) -> Encoding:
    """A design from Optuna parameters."""
    return tuple(space.number(choice.name, params[choice.name]) for choice in space.choices)


def objective_values(
    feasible: Feasible, objectives: Sequence[Objective], encoding: Encoding, score: float
) -> list[float]:
    """The values of the objectives: the score, and exact costs of the whole network."""
    return [
        score if objective == "score" else float(feasible.space.total(encoding, objective))
        for objective in objectives
    ]
