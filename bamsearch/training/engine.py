"""``train``: train a network on data with a recipe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import binomtest
from torch import nn

from bamsearch.data.splits import Data
from bamsearch.errors import InvalidValueError
from bamsearch.graph.copying import copy_model
from bamsearch.profile.conditions import caller_kept
from bamsearch.records import Design
from bamsearch.training.classes import check_gives_classes
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import TrainingFolder, check_tensorboard
from bamsearch.training.interrupt import asked_to_stop
from bamsearch.training.progress import Progress, Row
from bamsearch.training.recipe import FINE_TUNE, Recipe
from bamsearch.training.resume import about_training, check_same_training
from bamsearch.training.run import Run, make_live
from bamsearch.training.start import Start, start_with

GIVEN = "the caller's"
"""Origin of the weights of a module."""

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network after training.

    Attributes:
        module: the network, in eval mode, on its device.
        design: its design; None for a module of the caller.
        rows: metrics of all epochs.
        right: number of validation images classified correctly after the last epoch.
        images: number of validation images.
    """

    module: nn.Module
    design: Design | None
    rows: tuple[Row, ...]
    right: int
    images: int

    @property
    def accuracy(self) -> float:
        """Validation accuracy, 0..1."""
        return self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the accuracy, for the finite number of images only."""
        interval = binomtest(self.right, self.images).proportion_ci(CONFIDENCE, "wilson")
        return float(interval.low), float(interval.high)


def train(
    what: Start | Design | nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    output: TrainingFolder | Path | None = None,
    resume: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a network.

    For the same seed, all designs of a model share initial weights and the order of images, see
    :func:`bamsearch.training.start.start_with`. On a CPU with one thread the result is reproducible
    bit for bit, also after a kill and resume; on a GPU the last digits may differ. The caller's
    random state is preserved. The test split is not read.

    Args:
        what: a design, to be trained from random weights; the result of :func:`start_with`; or a
            network of the caller, of which a copy is trained.
        data: the data set with training and validation splits.
        recipe: the recipe.
        seed: random seed.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        output: folder for checkpoints, metrics and weights; None writes nothing.
        resume: resume the training in output from its last checkpoint.
        watch: called after every few steps and every epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        TrainingError: output has another training.
        KeyboardInterrupt: SIGINT or SIGTERM arrived; with an output, a checkpoint was written.
        MissingExtraError: Lightning Fabric is not installed.
        DesignError, NothingToDoError: the network does not match the data.
    """
    start = _as_start(what, data, seed)
    if recipe.name == FINE_TUNE and start.weights is None:
        raise InvalidValueError(
            f"recipe {FINE_TUNE} requires trained weights: add --weights, or use another recipe"
        )
    folder = TrainingFolder(output) if isinstance(output, Path) else output
    if resume and folder is None:
        raise InvalidValueError("nothing to resume: pass the output folder of the training")
    if folder is not None and folder.tensorboard:
        check_tensorboard()
    rows = _run_training(start, data, recipe, seed, device, folder, resume, watch)
    images = len(data.validation)
    right = round(rows[-1].validation_accuracy * images)
    return Trained(start.module, start.design, rows, right, images)


def _run_training(
    start: Start,
    data: Data,
    recipe: Recipe,
    seed: int,
    device: str,
    folder: TrainingFolder | None,
    resume: bool,
    watch: Callable[[Progress], None] | None,
) -> tuple[Row, ...]:
    fabric, scaler = make_fabric(device, recipe)
    with ExitStack() as stack:
        locks = folder is not None and fabric.is_global_zero
        if folder is not None and locks and not folder.is_new:
            stack.enter_context(folder.locked())
            locks = False
        stack.enter_context(caller_kept(fabric.device, torch.get_num_threads()))
        # Several processes would stop at different steps, and wait for each other forever.
        graceful = folder is not None and fabric.world_size == 1
        stop = stack.enter_context(asked_to_stop(wait=graceful))
        about = about_training(start, data.facts, recipe, seed)
        saved = folder.read_checkpoint() if resume and folder is not None else None
        if saved is not None and folder is not None:
            check_same_training(saved["about"], about, folder.path)
        live = make_live(start, data, recipe, seed, fabric, scaler, saved)
        run = Run(live, about, folder if fabric.is_global_zero else None, stop, watch)
        if saved is not None:
            run.resume(saved["progress"])
        else:
            run.begin(start.design)
        if folder is not None and locks:
            stack.enter_context(folder.locked())
        run.go()
        run.finish(start.design)
    return tuple(run.progress.rows)


def _as_start(what: Start | Design | nn.Module, data: Data, seed: int) -> Start:
    if isinstance(what, Start):
        return what
    if isinstance(what, Design):
        return start_with(what, data, seed=seed)
    module = copy_model(what)
    check_gives_classes(module, type(what).__name__, data.facts)
    return Start(None, module, data.mean, data.std, GIVEN)
