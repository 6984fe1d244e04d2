"""What trainings will take, and what ``verify`` can tell: from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch

from bamsearch.data.splits import Data
from bamsearch.errors import TrainingError
from bamsearch.evidence.networks import Network
from bamsearch.evidence.request import Planned
from bamsearch.evidence.statistics import ASSUMED_SD, smallest_detectable
from bamsearch.evidence.trainings import about, start_of
from bamsearch.profile.conditions import caller_kept
from bamsearch.training.again import state_of
from bamsearch.training.fabric import make_fabric
from bamsearch.training.loop import train_epoch
from bamsearch.training.parts import steps_of
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.run import make_live
from bamsearch.training.start import Start

TIMED_STEPS = 3
"""After one that warms up."""

# A forward pass alone, as of a validation batch, takes about a third of a training step.
_FORWARD = 1 / 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known before the trainings.

    Attributes:
        seconds: of all that is left to train and test.
        done: trainings that are finished.
        trainings: in all.
        detectable: points that are told from none with a chance of 80 %, with the spread assumed.
    """

    seconds: float
    done: int
    trainings: int
    detectable: float


class _EnoughError(Exception):
    """The steps have been timed."""


def estimate(planned: Planned, clock: Callable[[], float] = time.perf_counter) -> Estimate:
    """Look at what is there, and time what is not.

    Nothing is written, and the test split is not read.

    Args:
        planned: what is to be done.
        clock: seconds; read after each step. An epoch of one step is timed from its begin.

    Raises:
        TrainingError: a training of another kind is in the folder, without ``force``.
        DataError: the networks have other classes than the data.
    """
    seconds, done = 0.0, 0
    for network in planned.chosen.networks:
        start = start_of(planned, planned.seeds[0], network)
        missing = sum(not _is_done(planned, seed, network, start) for seed in planned.seeds)
        done += len(planned.seeds) - missing
        if missing:
            step = step_seconds(
                start, planned.data, planned.recipe, device=planned.request.device, clock=clock
            )
            tested = planned.data.facts.test
            seconds += missing * training_seconds(step, planned.data, planned.recipe, tested)
    detectable = smallest_detectable(ASSUMED_SD, len(planned.seeds), planned.chosen.comparisons)
    return Estimate(seconds, done, len(planned.trainings), detectable)


def step_seconds(
    start: Start,
    data: Data,
    recipe: Recipe,
    *,
    device: str,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of one training step; start's module is changed, and nothing is written.

    Args:
        start: the network.
        data: what it learns from.
        recipe: how.
        device: where.
        clock: seconds; read after each step. An epoch of one step is timed from its begin.
    """
    # What a step takes does not depend on the rate, and with a low one nothing diverges.
    recipe = recipe.changed(lr=recipe.lr * 1e-6)
    fabric, scaler = make_fabric(device, recipe)
    times: list[float] = []
    steps = steps_of(data.train, recipe.batch_size)
    wanted = min(TIMED_STEPS + 1, steps)

    def paused() -> None:
        times.append(clock())
        if len(times) == wanted:
            raise _EnoughError

    with caller_kept(fabric.device, torch.get_num_threads()):
        live = make_live(start, data, recipe, 0, fabric, scaler, None)
        progress = Progress(steps=steps)
        if wanted == 1:
            times.append(clock())
            wanted = 2
        with suppress(_EnoughError):
            train_epoch(live, progress, lambda: True, paused)
    return (times[-1] - times[0]) / (len(times) - 1)


def training_seconds(step: float, data: Data, recipe: Recipe, tested: int = 0) -> float:
    """Seconds of one training with its validations, and a test.

    Args:
        step: seconds of a training step.
        data: what is trained and validated on.
        recipe: how.
        tested: images that are classified at the end.
    """
    steps = recipe.epochs * steps_of(data.train, recipe.batch_size)
    images = recipe.epochs * len(data.validation) + tested
    return step * (steps + _FORWARD * images / recipe.batch_size)


def _is_done(planned: Planned, seed: int, network: Network, start: Start) -> bool:
    try:
        return state_of(planned.place(seed, network), about(planned, start, seed)) == "done"
    except TrainingError:
        if planned.request.force:
            return False
        raise
