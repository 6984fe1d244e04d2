"""Estimate the duration of a training by timing a few steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch

from bamsearch.data.splits import Data
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.training.fabric import make_fabric
from bamsearch.training.loop import train_epoch
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.shards import steps_of
from bamsearch.training.trainer import Training, make_trainer_state

TIMED_STEPS = 3
"""Number of timed steps after a warm-up step."""

FORWARD = 1 / 3
"""Approximate time of a forward pass, as for validation, as a share of a training step."""


class _EnoughError(Exception):
    """The steps have been timed."""


def step_seconds(
    training: Training,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds per training step; the module of the training is modified.

    Args:
        training: the training.
        threads: number of torch threads on a CPU; None keeps the current number.
        clock: time in seconds, read after each step. An epoch of one step is timed from its start.
    """
    # The duration does not depend on the learning rate, and a low rate prevents divergence.
    recipe = training.recipe.changed(lr=training.recipe.lr * 1e-6)
    fabric, scaler = make_fabric(training.device, recipe)
    times: list[float] = []
    wanted = min(TIMED_STEPS + 1, training.steps)

    def paused() -> None:
        times.append(clock())
        if len(times) == wanted:
            raise _EnoughError

    with preserve_torch_state(fabric.device, threads or torch.get_num_threads()):
        trainer = make_trainer_state(replace(training, recipe=recipe), fabric, scaler, None)
        if wanted == 1:
            times.append(clock())
            wanted = 2
        with suppress(_EnoughError):
            train_epoch(trainer, Progress(steps=training.steps), lambda: True, paused)
    return (times[-1] - times[0]) / (len(times) - 1)


def training_seconds(step: float, data: Data, recipe: Recipe, tested: int = 0) -> float:
    """Seconds of a training with its validations, and a test of ``tested`` images.

    ``step`` is the duration of a training step.
    """
    steps = recipe.epochs * steps_of(data.train, recipe.batch_size)
    images = recipe.epochs * len(data.validation) + tested
    return step * (steps + FORWARD * images / recipe.batch_size)
