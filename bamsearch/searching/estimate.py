"""What a search that trains will take, from a few timed steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bamsearch.data.splits import Data
from bamsearch.records import Run
from bamsearch.score.supernet.train import supernet_task
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import smallest
from bamsearch.searching.supernet import plan_of
from bamsearch.training.parts import steps_of
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import start_with
from bamsearch.training.task import Task
from bamsearch.training.timing import FORWARD, step_seconds, training_seconds

Timer = Callable[[Run, Task, Data], float]
"""Seconds of a step, where and how the run trains."""


def timed(run: Run, task: Task, data: Data) -> float:
    """Seconds of a step, as the clock says."""
    recipe = Recipe.from_dict(run.recipe or {})
    return step_seconds(task, data, recipe, device=run.device, threads=run.threads)


def design_seconds(run: Run, feasible: Feasible, data: Data, timer: Timer = timed) -> float:
    """Seconds of one training: the mean of a small and a large design, none stopped early.

    Args:
        run: with score ``train``.
        feasible: what fits.
        data: the run's.
        timer: times a step.
    """
    recipe, space = Recipe.from_dict(run.recipe or {}), feasible.space
    ends = [smallest(space, feasible.budgets), feasible.largest()]
    designs = [run.design(space.insertions(picks)) for picks in ends]
    tasks = [Task(start_with(one, data, seed=run.seed)) for one in designs]
    step = sum(timer(run, task, data) for task in tasks) / len(tasks)
    return training_seconds(step, data, recipe)


def supernet_seconds(
    run: Run, feasible: Feasible, data: Data, timer: Timer = timed
) -> tuple[float, float]:
    """Seconds that the training of a supernet takes, and one score by it.

    Args:
        run: with score ``supernet``.
        feasible: what fits.
        data: the run's.
        timer: times a step.
    """
    recipe, plan = Recipe.from_dict(run.recipe or {}), plan_of(run, feasible)
    options = plan.options
    # In the warm-up a step is of one design.
    warm = replace(plan, options=replace(options, warmup=0))
    step = timer(run, supernet_task(warm, data, run.seed)[0], data)
    designs = len(warm.designs(run.seed, 0, 0))
    one = step / designs
    steps = steps_of(data.train, recipe.batch_size)
    looks = one * FORWARD * len(data.validation) / recipe.batch_size
    later = recipe.epochs - options.warmup
    training = steps * (later * step + options.warmup * one) + recipe.epochs * looks
    recalibrated = FORWARD * min(options.recalibration, steps)
    return training, one * (options.fine_tune + recalibrated) + looks
