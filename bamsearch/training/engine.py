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
from bamsearch.graph.base import Base
from bamsearch.graph.initial import fork_rng, initialise_bams
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records import Design
from bamsearch.training.classes import check_gives_classes
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import TrainingFolder, check_tensorboard
from bamsearch.training.initial_model import InitialModel, build_initial_model
from bamsearch.training.interrupt import defer_signals
from bamsearch.training.progress import EpochMetrics, Progress
from bamsearch.training.recipe import FINE_TUNE, Recipe
from bamsearch.training.resume import check_same_training, training_metadata
from bamsearch.training.run import TrainingRun, make_trainer_state

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
    rows: tuple[EpochMetrics, ...]
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
    network: InitialModel | Design | nn.Module,
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
    :func:`bamsearch.training.initial_model.build_initial_model`. On a CPU with one thread the
    result is reproducible bit for bit, also after a kill and resume; on a GPU the last digits may
    differ. The caller's random state is preserved. The test split is not read.

    Args:
        network: a design, to be trained from random weights; the result of
            :func:`build_initial_model`; or a network of the caller, of which a copy is trained.
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
    initial = _as_initial_model(network, data, seed)
    if recipe.name == FINE_TUNE and initial.weights is None:
        raise InvalidValueError(
            f"recipe {FINE_TUNE} requires trained weights: add `weights`, or use another recipe"
        )
    folder = TrainingFolder(output) if isinstance(output, Path) else output
    if resume and folder is None:
        raise InvalidValueError("nothing to resume: pass the output folder of the training")
    if folder is not None and folder.tensorboard:
        check_tensorboard()
    rows = _run_training(initial, data, recipe, seed, device, folder, resume, watch)
    images = len(data.validation)
    right = round(rows[-1].validation_accuracy * images)
    return Trained(initial.module, initial.design, rows, right, images)


def _run_training(
    initial: InitialModel,
    data: Data,
    recipe: Recipe,
    seed: int,
    device: str,
    folder: TrainingFolder | None,
    resume: bool,
    watch: Callable[[Progress], None] | None,
) -> tuple[EpochMetrics, ...]:
    fabric, scaler = make_fabric(device, recipe)
    with ExitStack() as stack:
        locks = folder is not None and fabric.is_global_zero
        if folder is not None and locks and not folder.is_new:
            stack.enter_context(folder.locked())
            locks = False
        stack.enter_context(preserve_torch_state(fabric.device, torch.get_num_threads()))
        # Several processes would stop at different steps, and wait for each other forever.
        graceful = folder is not None and fabric.world_size == 1
        stop = stack.enter_context(defer_signals(wait=graceful))
        metadata = training_metadata(initial, data.facts, recipe, seed)
        saved = folder.read_checkpoint() if resume and folder is not None else None
        if saved is not None and folder is not None:
            check_same_training(saved["about"], metadata, folder.path)
        trainer = make_trainer_state(initial, data, recipe, seed, fabric, scaler, saved)
        run = TrainingRun(trainer, metadata, folder if fabric.is_global_zero else None, stop, watch)
        if saved is not None:
            run.resume(saved["progress"])
        else:
            run.begin(initial.design)
        if folder is not None and locks:
            stack.enter_context(folder.locked())
        run.go()
        run.finish(initial.design)
    return tuple(run.progress.rows)


def _as_initial_model(
    network: InitialModel | Design | nn.Module, data: Data, seed: int
) -> InitialModel:
    if isinstance(network, InitialModel):
        return network
    if isinstance(network, Design):
        return build_initial_model(network, data, seed=seed)
    module = copy_model(network)
    check_gives_classes(module, type(network).__name__, data.facts)
    return InitialModel(None, module, data.mean, data.std, GIVEN)


def with_bam(base: Base, design: Design, data: Data, seed: int) -> InitialModel:
    """The caller's network with the BAMs of a design, initialised by the seed."""
    with fork_rng():
        module = base.insert(design).module
    initialise_bams(module, design, seed)
    trained = dict(base.module.named_parameters())
    fresh = frozenset(name for name, _ in module.named_parameters() if name not in trained)
    return InitialModel(None, module, data.mean, data.std, GIVEN, fresh)
