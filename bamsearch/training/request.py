"""Turn a request by names into a training that is ready to start."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from itertools import count
from pathlib import Path

from torch import nn

from bamsearch.data.datasets import Datasets
from bamsearch.data.loading import DEFAULT_SIZE, load_data
from bamsearch.data.splits import Data
from bamsearch.errors import InvalidValueError, TrainingError
from bamsearch.files import check_output_folder
from bamsearch.graph.designs import build, find_design, is_design
from bamsearch.records import Design, ValueRange, check_value_range
from bamsearch.records.sources import name_of
from bamsearch.training.engine import state_of
from bamsearch.training.fabric import check_fabric
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder, taken
from bamsearch.training.initial_model import (
    GIVEN,
    InitialModel,
    build_initial_model,
    check_is_classifier,
    check_trainable,
    module_as_given,
)
from bamsearch.training.metadata import design_of
from bamsearch.training.progress import SILENT, ProgressBars, TrainingView, Watch, is_first_process
from bamsearch.training.recipe import (
    DEFAULT_RECIPE,
    FINE_TUNE,
    Precision,
    Recipe,
    check_starts_from,
    find_recipe,
)
from bamsearch.training.trainer import Training

TRAINED = Path("trained")
"""Parent folder of trainings with output ``auto``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The options that train, verify and audit share.

    Attributes:
        recipe: name of the training recipe; None is short, or fine-tune with trained weights.
        epochs: overrides the recipe's number of epochs.
        precision: overrides the recipe's numeric precision: 32, bf16-mixed or 16-mixed.
        value_range: (lo, hi), values mapped to black and white in images of more than 8 bits; None
            is the range of their type, or that of the run or training before.
        download: download the data if they are missing.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; auto prefers a GPU.
        force: replace earlier trainings that were made with other settings.
        dry_run: only plan: nothing is trained or written, and the result has no numbers.
        verbose: show a progress bar for each training.
        view: follows the work, a :class:`bamsearch.TrainingView`; None is silent, or the bars.
        command: command line to record.
    """

    recipe: str | None = None
    epochs: int | None = None
    precision: Precision | None = None
    value_range: ValueRange | None = None
    download: bool = False
    device: str = "auto"
    force: bool = False
    dry_run: bool = False
    verbose: bool = False
    view: TrainingView | None = None
    command: str = "bamsearch"

    @property
    def follower(self) -> TrainingView:
        """The view that follows the work."""
        return self.view or (ProgressBars() if self.verbose else SILENT)

    def chosen_recipe(self, weights: object) -> Recipe:
        """The recipe with its overrides, for a training from weights of this origin, if any."""
        default = DEFAULT_RECIPE if weights in (None, GIVEN) else FINE_TUNE
        recipe = find_recipe(self.recipe or default)
        check_starts_from(recipe, weights)
        return self.changed(recipe)

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with the overrides of the request."""
        return recipe.changed(epochs=self.epochs, precision=self.precision)


@dataclass(frozen=True, slots=True)
class TrainingRequest(TrainingOptions):
    """The options of a training; None is the default, or the value of a resumed training.

    Attributes:
        network: a design, its file or folder, a run (its best design), ``RUN@K``, a MODEL, or a
            module, of which a copy is trained.
        data: name of a data set, a torch Dataset of (image, label), or a pair of them for training
            and validation, see :func:`bamsearch.data.loading.load_data`.
        batch_size: overrides the images per step.
        lr: overrides the learning rate.
        weights: trained weights: DEFAULT, a published name or a file; None are those beside the
            design, if any, and ``random`` ignores these.
        seed: random seed; None is 0.
        output: folder of the training; ``auto`` is a new one below ``trained``, and None keeps
            nothing on disk. The same call resumes an interrupted training in its folder.
        resume: resume the training in output; other options may be left out.
        tensorboard: also write TensorBoard events.
        callback: called with the progress every few steps and after every epoch.
    """

    network: str | os.PathLike[str] | Design | nn.Module | None = None
    data: str | Datasets | None = None
    _: KW_ONLY
    batch_size: int | None = None
    lr: float | None = None
    weights: str | None = None
    seed: int | None = None
    output: str | os.PathLike[str] | None = None
    resume: bool = False
    tensorboard: bool = False
    callback: Watch | None = None
    command: str = "bamsearch.train"

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with the overrides of the request."""
        changed = recipe.changed(epochs=self.epochs, precision=self.precision)
        return changed.changed(batch_size=self.batch_size, lr=self.lr)

    def folder(self, path: str | os.PathLike[str]) -> TrainingFolder:
        """The folder of the training at a path."""
        return TrainingFolder(
            Path(path), tensorboard=self.tensorboard, force=self.force, command=self.command
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingPlan(Training):
    """A training that is ready to start.

    Attributes:
        design: its design; that of a module has only its class, input and classes.
        folder: folder of the training; None keeps nothing on disk.
        resumes: whether the training in the folder is resumed.
    """

    design: Design
    folder: TrainingFolder | None = None
    resumes: bool = False


def plan_training(request: TrainingRequest) -> TrainingPlan:
    """Prepare a new training, or one that was interrupted.

    Raises:
        InvalidValueError: design or data are missing, an unknown recipe, options that do not go
            together.
        NothingToDoError: the model is a detector or a segmenter.
        DesignError, DataError, ModelError, WeightsError: missing, unreadable or mismatched input.
        OutputError: the folder has another training, a finished one, or other files.
        TrainingError: the checkpoint to resume is unreadable, or is of another training.
        MissingExtraError: Lightning Fabric is not installed.
    """
    _check(request)
    started = not request.resume and _check_output(request)
    check_fabric()
    if request.resume:
        return _plan_resumed(request)
    design, data, initial = _new_training(request)
    recipe = request.chosen_recipe(initial.weights)
    plan = TrainingPlan(initial, data, recipe, request.seed or 0, request.device, design=design)
    if request.output is None:
        return plan
    folder = request.folder(_new_folder(design) if request.output == "auto" else request.output)
    return replace(plan, folder=folder, resumes=started and _is_unfinished(plan, folder))


def _check(request: TrainingRequest) -> None:
    if request.resume and request.output is None:
        raise InvalidValueError("resume=True needs output: the folder of the training")
    if request.resume and request.weights is not None:
        raise InvalidValueError("`weights` is for new trainings: omit it with `resume`")
    if isinstance(request.network, nn.Module) and request.weights is not None:
        raise InvalidValueError("`weights` is for a MODEL: a module has its own weights")
    if not request.resume and (request.network is None or request.data is None):
        missing = "DESIGN or MODEL" if request.network is None else "`data`"
        raise InvalidValueError(
            f"{missing} is missing: 'bamsearch train DESIGN --data NAME', with a NAME such as "
            "digits or imagefolder:DIR"
        )


def _check_output(request: TrainingRequest) -> bool:
    """Whether the folder has a training; raise OutputError for other files."""
    if request.output in (None, "auto"):
        return False
    path = Path(request.output or "")
    started = not request.force and (path / CHECKPOINT_FILE).exists()
    if not started and is_first_process():
        check_output_folder(path, force=request.force)
    return started


def _new_training(request: TrainingRequest) -> tuple[Design, Data, InitialModel]:
    network, name = request.network, "" if request.data is None else request.data
    if isinstance(network, nn.Module):
        data = load_for(name, None, request.download, value_range=request.value_range)
        return _base(name_of(type(network)), data), data, module_as_given(network, data)
    saved, beside = _saved_design(network or "")
    model = str(network) if saved is None else saved.model
    check_is_classifier(model)
    data = load_for(name, saved, request.download, value_range=request.value_range)
    design = saved or _base(model, data)
    check_trainable(design, data.facts)
    if saved is not None:
        request.follower.execute(model)
    weights, seed = request.weights, request.seed or 0
    initial = build_initial_model(design, data, weights=weights, beside=beside, seed=seed)
    return initial.design or design, data, initial


def _new_folder(design: Design) -> Path:
    """The first free ``trained/NAME-NNN``."""
    name = design.model.rpartition(":")[2] + ("-bam" if design.insertions else "")
    folders = (TRAINED / f"{name}-{number:03d}" for number in count(1))
    return next(folder for folder in folders if not folder.exists())


def _is_unfinished(training: Training, folder: TrainingFolder) -> bool:
    """Whether the folder has this training, killed or interrupted before its end."""
    with suppress(TrainingError):
        if state_of(folder.path, training.metadata()) == "started":
            return True
    with folder.locked():  # removes leftover files of a killed process
        raise taken(folder.path)


def _plan_resumed(request: TrainingRequest) -> TrainingPlan:
    """Prepare to resume a training; ``train`` refuses a request with other settings."""
    folder, network = request.folder(request.output or ""), request.network
    metadata = folder.read_checkpoint()["about"]
    saved = design_of(metadata)
    if saved is None and not isinstance(network, nn.Module):
        raise TrainingError(f"{folder.path} was trained from Python: resume it from Python")
    if saved is not None:
        request.follower.execute(saved.model)
    facts = metadata["data"]
    # Older checkpoints have no value range.
    values = facts.get("value_range")
    data = load_for(
        facts["name"] if request.data is None else request.data,
        saved,
        request.download,
        facts["split_seed"],
        facts["hash"],
        request.value_range or (None if values is None else check_value_range(values)),
    )
    if isinstance(network, nn.Module):
        design, initial = _base(name_of(type(network)), data), module_as_given(network, data)
    elif saved is not None:
        design, module = saved, build(saved)
        pixels = tuple(metadata["mean"]), tuple(metadata["std"])
        fresh = frozenset(metadata["fresh"])
        named = _named(network, saved, data)
        initial = InitialModel(named, module, *pixels, metadata["weights"], fresh)
    recipe = Recipe.from_dict(metadata["recipe"])
    if request.recipe is not None and request.recipe != recipe.name:
        recipe = find_recipe(request.recipe)
    recipe = request.changed(recipe)
    seed = metadata["seed"] if request.seed is None else request.seed
    return TrainingPlan(
        initial, data, recipe, seed, request.device, design=design, folder=folder, resumes=True
    )


def _named(network: str | os.PathLike[str] | Design | None, design: Design, data: Data) -> Design:
    """The requested design, to be compared with that of the checkpoint."""
    if network is None:
        return design
    named = _saved_design(network)[0] or _base(str(network), data)
    # Trained weights may have determined these, which the file does not contain.
    classes = named.num_classes or design.num_classes
    return replace(named, weights=design.weights, num_classes=classes)


def _saved_design(network: str | os.PathLike[str] | Design) -> tuple[Design | None, Path | None]:
    """The design and the weights beside its file, if any; (None, None) for a MODEL."""
    if isinstance(network, Design):
        return network, None
    return find_design(network) if is_design(os.fspath(network)) else (None, None)


def _base(model: str, data: Data) -> Design:
    return Design(model, data.facts.input_shape, num_classes=data.facts.classes)


def load_for(
    name: str | Datasets,
    design: Design | None,
    download: bool,
    split_seed: int = 0,
    recorded: str | None = None,
    value_range: ValueRange | None = None,
) -> Data:
    """Load data in the input shape of a design, as far as possible; see :func:`load_data`."""
    shape = None if design is None else design.input_shape
    channels = 1 if shape is not None and shape[0] == 1 else 3
    size = DEFAULT_SIZE if shape is None or len(shape) != 3 else (shape[1], shape[2])
    return load_data(
        name,
        download=download,
        split_seed=split_seed,
        channels=channels,
        default_size=size,
        recorded=recorded,
        value_range=value_range,
    )
