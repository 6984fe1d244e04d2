"""Estimates the duration of a search that trains, from a few timed steps."""

from __future__ import annotations

from collections.abc import Callable

from bamsearch.data.splits import Data
from bamsearch.records import Run
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import smallest
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import Start, start_with
from bamsearch.training.timing import step_seconds, training_seconds

Timer = Callable[[Run, Start, Data], float]
"""Seconds per step, on the device and with the recipe of the run."""


def timed(run: Run, start: Start, data: Data) -> float:
    """Measured seconds per training step."""
    recipe = Recipe.from_dict(run.recipe or {})
    return step_seconds(start, data, recipe, device=run.device, threads=run.threads)


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
    designs = [run.design(space.insertions(picks)) for picks in ends]
    starts = [start_with(design, data, seed=run.seed) for design in designs]
    step = sum(timer(run, start, data) for start in starts) / len(starts)
    return training_seconds(step, data, recipe)
