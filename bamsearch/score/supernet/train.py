"""``train_supernet``: a space, data and a recipe become a network with all designs in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bamsearch.data.splits import Data
from bamsearch.errors import InvalidValueError
from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.step import Sandwich
from bamsearch.score.supernet.trained import Supernet
from bamsearch.training.engine import carry_out
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import Start, start_with
from bamsearch.training.task import Task


def train_supernet(
    plan: SupernetPlan,
    data: Data,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    output: TrainingFolder | Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> Supernet:
    """Train a supernet.

    As :func:`bamsearch.training.engine.train`: on a CPU with one thread the result is the same bit
    for bit, also where the process was killed and the training resumed, given a ``draw`` that
    depends on its random numbers alone. What ``metrics.csv`` and the progress say of training
    images is of the first design of each step, which is the largest of a sandwich; the validation
    is that of the largest. In the warm-up both are the base's.

    A step takes as many forward and backward passes as it trains designs; their gradients are
    summed, so that a rate which suits one design may be too high.

    Args:
        plan: the space and its feasible designs.
        data: what it learns from, and is validated on.
        recipe: how.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        output: where to keep checkpoints, metrics and weights; None keeps nothing.
        resume: go on with the training in output where there is one. One that has come to its end
            is read again.
        watch: called after every few steps and every epoch.

    Raises:
        InvalidValueError: a design that is not in the space, a warm-up that leaves no epoch, or
            several processes.
        DivergedError: the loss is no number.
        TrainingError: output holds another training; the first difference is named.
        OutputError: there is one already, and resume is not asked for.
        KeyboardInterrupt: SIGINT or SIGTERM came; with an output, a checkpoint has been written.
        MissingExtraError: Lightning Fabric is not installed.
        DesignError, NothingToDoError, ModelError: the network does not fit the data, or cannot be
            built.
    """
    plan.options.check_leaves(recipe.epochs)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValueError("a supernet is trained in one process: start it without torchrun")
    task, network = supernet_task(plan, data, seed)
    folder = TrainingFolder(output) if isinstance(output, Path) else output
    there = folder is not None and (folder.path / CHECKPOINT_FILE).is_file()
    carry_out(
        task,
        data,
        recipe,
        seed=seed,
        device=device,
        folder=folder,
        resume=resume and there,
        watch=watch,
    )
    mean, std = task.start.mean, task.start.std
    return Supernet(network, plan.options, recipe, seed, mean, std, data.facts.hash)


def supernet_task(plan: SupernetPlan, data: Data, seed: int) -> tuple[Task, SlotNetwork]:
    """What the training of a supernet is, and the network that it trains.

    Raises:
        InvalidValueError: a design that is not in the space.
        DesignError, NothingToDoError, ModelError: the network does not fit the data, or cannot be
            built.
    """
    base = start_with(plan.space.base, data, seed=seed) if plan.start is None else plan.start
    network = SlotNetwork(plan.space, base.module, plan.options.share, seed)
    for design in (plan.largest, plan.smallest):
        network.check(design)
    fresh = frozenset() if base.weights is None else base.fresh | network.fresh
    start = Start(None, network.module, base.mean, base.std, base.weights, fresh)
    sandwich = Sandwich(network, plan)
    return Task(start, sandwich.step, sandwich.validate, plan.about()), network
