"""Turn a request by names into the arguments of :func:`bamsearch.training.engine.train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bamsearch.data.datasets import Datasets
from bamsearch.data.loading import DEFAULT_SIZE, load_data
from bamsearch.data.splits import Data
from bamsearch.errors import InvalidValueError, TrainingError
from bamsearch.graph.designs import build, find_design, is_design
from bamsearch.records import Design, ValueRange, check_value_range
from bamsearch.training.fabric import check_fabric
from bamsearch.training.folder import TrainingFolder, taken
from bamsearch.training.initial_model import (
    InitialModel,
    build_initial_model,
    check_is_classifier,
    check_trainable,
)
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, Precision, Recipe, find_recipe
from bamsearch.training.resume import design_of, training_metadata
from bamsearch.training.start_or_resume import state_of


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The options of a training; None is the default, or the value of a resumed training.

    Attributes:
        what: a design; a DESIGN, see :func:`bamsearch.graph.designs.find_design`; or a MODEL.
        data: the data, see :func:`bamsearch.data.loading.load_data`.
        download: download the data if missing.
        recipe: name of the recipe.
        epochs: override of the recipe's number of epochs.
        batch_size: override of the images per step.
        lr: override of the learning rate.
        precision: override of the numeric precision.
        weights: see :func:`bamsearch.training.initial_model.build_initial_model`.
        seed: random seed.
        value_range: value range of the pixels, see :func:`bamsearch.data.loading.load_data`.
    """

    what: str | Design | None = None
    data: str | Datasets | None = None
    download: bool = False
    recipe: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    precision: Precision | None = None
    weights: str | None = None
    seed: int | None = None
    value_range: ValueRange | None = None

    def changed(self, recipe: Recipe) -> Recipe:
        """The recipe with the overrides of the request."""
        return recipe.changed(
            epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, precision=self.precision
        )


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPlan:
    """A training that is ready to start.

    Attributes:
        initial: the initial network.
        design: its design.
        data: the data set.
        recipe: the recipe.
        seed: random seed.
    """

    initial: InitialModel
    design: Design
    data: Data
    recipe: Recipe
    seed: int


def plan_training(
    request: TrainingRequest, before: Callable[[str], object] = lambda model: None
) -> TrainingPlan:
    """Prepare a new training.

    Args:
        request: the options.
        before: called with the MODEL of a design, before its code is executed.

    Raises:
        InvalidValueError: design or data are missing, or the recipe is unknown.
        NothingToDoError: the model is a detector or a segmenter.
        DesignError, DataError, ModelError, WeightsError: missing, unreadable or mismatched input.
        MissingExtraError: Lightning Fabric is not installed.
    """
    if request.what is None or request.data is None:
        missing = "DESIGN or MODEL" if request.what is None else "`data`"
        raise InvalidValueError(
            f"{missing} is missing: 'bamsearch train DESIGN --data NAME', with a NAME such as "
            "digits or imagefolder:DIR"
        )
    check_fabric()
    saved, beside = _saved_design(request.what)
    check_is_classifier(str(request.what) if saved is None else saved.model)
    data = load_for(request.data, saved, request.download, value_range=request.value_range)
    design = saved or _base(str(request.what), data)
    seed = request.seed or 0
    check_trainable(design, data.facts)
    if saved is not None:
        before(saved.model)
    initial = build_initial_model(design, data, weights=request.weights, beside=beside, seed=seed)
    default = DEFAULT_RECIPE if initial.weights is None else FINE_TUNE
    recipe = request.changed(find_recipe(request.recipe or default))
    return TrainingPlan(initial, initial.design or design, data, recipe, seed)


def is_unfinished_training(planned: TrainingPlan, folder: TrainingFolder) -> bool:
    """Whether a folder has this training, killed or interrupted before its end.

    Raises:
        OutputError: the training is finished, or the folder has another training.
    """
    metadata = training_metadata(planned.initial, planned.data.facts, planned.recipe, planned.seed)
    try:
        if state_of(folder.path, metadata) == "started":
            return True
    except TrainingError:
        pass
    with folder.locked():  # removes leftover files of a killed process
        raise taken(folder.path)


def plan_resumed(
    request: TrainingRequest,
    folder: TrainingFolder,
    before: Callable[[str], object] = lambda model: None,
) -> TrainingPlan:
    """Prepare to resume a training; ``train`` refuses a request with other settings.

    Args:
        request: the options.
        folder: folder of the training.
        before: called with the MODEL, before its code is executed.

    Raises:
        TrainingError: the checkpoint is unreadable, or is of a module trained from Python.
        InvalidValueError: the request has initial weights.
        DesignError, DataError, ModelError: missing, unreadable or mismatched input.
        MissingExtraError: Lightning Fabric is not installed.
    """
    check_fabric()
    metadata = folder.read_checkpoint()["about"]
    design = design_of(metadata)
    if design is None:
        raise TrainingError(f"{folder.path} was trained from Python: resume it from Python")
    if request.weights is not None:
        raise InvalidValueError("`weights` is for new trainings: omit it with `resume`")
    before(design.model)
    facts = metadata["data"]
    name, seed = request.data or facts["name"], facts["split_seed"]
    # Older checkpoints have no value range.
    saved = facts.get("value_range")
    value_range = request.value_range or (None if saved is None else check_value_range(saved))
    data = load_for(name, design, request.download, seed, facts["hash"], value_range)
    initial = InitialModel(
        _named(request.what, design, data),
        build(design),
        tuple(metadata["mean"]),
        tuple(metadata["std"]),
        metadata["weights"],
        frozenset(metadata["fresh"]),
    )
    recipe = Recipe.from_dict(metadata["recipe"])
    if request.recipe is not None and request.recipe != recipe.name:
        recipe = find_recipe(request.recipe)
    seed = metadata["seed"] if request.seed is None else request.seed
    return TrainingPlan(initial, design, data, request.changed(recipe), seed)


def _named(network: str | Design | None, design: Design, data: Data) -> Design:
    """The requested design, to be compared with that of the checkpoint."""
    if network is None:
        return design
    named = _saved_design(network)[0] or _base(str(network), data)
    # Trained weights may have determined these, which the file does not contain.
    classes = named.num_classes or design.num_classes
    return replace(named, weights=design.weights, num_classes=classes)


def _saved_design(network: str | Design) -> tuple[Design | None, Path | None]:
    """The design and the weights beside its file, if any; (None, None) for a MODEL."""
    if isinstance(network, Design):
        return network, None
    return find_design(network) if is_design(network) else (None, None)


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
    """Load data in the input shape of a design, as far as possible.

    Args:
        name: see :func:`bamsearch.data.loading.load_data`.
        design: the design; None uses the default size.
        download: download missing data.
        split_seed: random seed of the splits.
        recorded: recorded hash of the data, see :func:`bamsearch.data.loading.load_data`.
        value_range: see :func:`bamsearch.data.loading.load_data`.
    """
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
