"""Estimates the duration of a search that trains, from a few timed steps."""

from __future__ import annotations

from collections.abc import Callable

from bamsearch.data.splits import Data
from bamsearch.records import Run
from bamsearch.space.feasible import Feasible
from bamsearch.space.fitting import smallest
from bamsearch.training.initial_model import InitialModel, build_initial_model
from bamsearch.training.recipe import Recipe
from bamsearch.training.timing import step_seconds, training_seconds
from bamsearch.training.trainer import Training

Timer = Callable[[Run, InitialModel, Data], float]
"""Seconds per step, on the device and with the recipe of the run."""


def timed(run: Run, initial: InitialModel, data: Data) -> float:
    """Measured seconds per training step."""
    recipe = Recipe.from_dict(run.recipe or {})
    return step_seconds(Training(initial, data, recipe, device=run.device), run.threads)


def design_seconds(run: Run, feasible: Feasible, data: Data, timer: Timer = timed) -> float:
    """Estimated seconds of one full training: the mean of a small and a large design.

    Args:
        run: run with score ``train``.
        feasible: feasible set.
        data: data set of the run.
        timer: times a step.
    """
    recipe, space = Recipe.from_dict(run.recipe or {}), feasible.space
    ends = [smallest(space, feasible.budgets), feasible.largest()]
    designs = [run.design(space.insertions(encoding)) for encoding in ends]
    initials = [build_initial_model(design, data, seed=run.seed) for design in designs]
    step = sum(timer(run, initial, data) for initial in initials) / len(initials)
    return training_seconds(step, data, recipe)
