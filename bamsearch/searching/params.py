"""A space as Optuna's parameters: one a choice, its values the labels of the options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from bamsearch.records import Objective
from bamsearch.searching.choices import Picks, SearchSpace
from bamsearch.searching.feasible import Feasible


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's parameters of a space: a choice's name, its options' labels."""
    return {
        choice.name: CategoricalDistribution([option.label for option in choice.options])
        for choice in space.choices
    }


def params_of(space: SearchSpace, picks: Picks) -> dict[str, str]:
    """A design as values of Optuna's parameters."""
    return {
        choice.name: choice.options[number].label
        for choice, number in zip(space.choices, picks, strict=True)
    }


def picks_of(space: SearchSpace, params: dict[str, Any]) -> Picks:
    """A design from values of Optuna's parameters."""
    return tuple(space.number(choice.name, params[choice.name]) for choice in space.choices)


def objective_values(
    feasible: Feasible, objectives: Sequence[Objective], picks: Picks, score: float
) -> list[float]:
    """The objectives' values: the score, and exact costs of the whole network."""
    return [
        score if objective == "score" else float(feasible.space.total(picks, objective))
        for objective in objectives
    ]
