"""The initial network of a training: weights, their origin, and pixel normalisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torchvision
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.data.splits import Data
from bamsearch.errors import DesignError, NothingToDoError, TrainingError
from bamsearch.graph.bams import fork_rng, initialise_bams
from bamsearch.graph.base import Base
from bamsearch.graph.checkpoints import load_all, read_checkpoint
from bamsearch.graph.designs import build, load
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import is_versioned, split_model
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.graph.weights import build_with_weights, normalisation
from bamsearch.records import DataFacts, Design
from bamsearch.text import size_text
from bamsearch.training.classes import OWN_LOOP, check_gives_classes
from bamsearch.training.metadata import FACTS_FILE, PIXELS

RANDOM = "random"
"""Value of weights that ignores the weights next to the design."""

GIVEN = "the caller's"
"""Origin of the weights of a module."""

PixelStatistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of pixels in 0..1, one number per channel."""

# torchvision's packages of models that output boxes, masks or flow.
_NO_CLASSIFIERS = {
    "detection": "a detector",
    "segmentation": "a segmenter",
    "optical_flow": "a model of optical flow",
}


@dataclass(frozen=True, slots=True, eq=False)
class InitialModel:
    """A network before training.

    Attributes:
        design: its design; None for a module of the caller.
        module: the network, on the CPU; modified by training.
        mean: mean of pixels in 0..1 for normalisation, one number per channel.
        std: standard deviation for normalisation, one number per channel.
        weights: origin of trained weights; None if all are random.
        fresh: names of randomly initialised parameters in a network with trained weights.
    """

    design: Design | None
    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str | None = None
    fresh: frozenset[str] = frozenset()


def build_initial_model(
    design: Design,
    data: Data,
    *,
    weights: str | None = None,
    beside: Path | None = None,
    seed: int = 0,
) -> InitialModel:
    """Build the initial network of a design for training.

    Random weights follow from the seed: those of the base are the same for all designs of a model,
    and those of a BAM for all designs with the same site and hidden width.

    Pixels are normalised by the statistics of the training split. With trained weights, they are
    normalised as in the original training, if known: by its ``train.json``, else by the values
    that torchvision and timm publish.

    Args:
        design: the design.
        data: the data set.
        weights: ``DEFAULT`` or a published name; a file for the base or for the network with BAM;
            or ``random``.
        beside: the ``model.safetensors`` next to the design, used if weights is None.
        seed: random seed of the weights.

    Raises:
        DesignError: the design is for another input or other classes.
        NothingToDoError: a detector, or another network without class scores.
        ModelError, WeightsError: as :func:`bamsearch.build` and
            :func:`bamsearch.graph.weights.build_with_weights`.
    """
    check_trainable(design, data.facts)
    default = (data.mean, data.std)
    with fork_rng(seed):
        if weights is None and beside is not None:
            initial = _with_all(design, load(beside.parent), beside, default)
        elif weights is None or weights == RANDOM:
            initial = InitialModel(design, build(design), *default)
            initialise_bams(initial.module, design, seed)
        elif _has_bam(weights):
            module = build(design)
            load_all(module, Path(weights), "this design")
            initial = _with_all(design, module, Path(weights), default)
        else:
            initial = _with_base(design, weights, default)
            initialise_bams(initial.module, design, seed)
    check_gives_classes(initial.module, design.model, data.facts)
    return initial


def module_as_given(module: nn.Module, data: Data) -> InitialModel:
    """A copy of the caller's network, with its weights.

    Raises:
        ModelError, DesignError, NothingToDoError: it does not classify these images.
    """
    copied = copy_model(module)
    check_gives_classes(copied, type(module).__name__, data.facts)
    return InitialModel(None, copied, data.mean, data.std, GIVEN)


def with_bam(base: Base, design: Design, data: Data, seed: int) -> InitialModel:
    """The caller's network with the BAMs of a design, initialised by the seed."""
    with fork_rng():
        module = base.insert(design).module
    initialise_bams(module, design, seed)
    trained = dict(base.module.named_parameters())
    fresh = frozenset(name for name, _ in module.named_parameters() if name not in trained)
    return InitialModel(None, module, data.mean, data.std, GIVEN, fresh)


def check_trainable(design: Design, facts: DataFacts) -> None:
    """Raise an error if a design cannot be trained on the data.

    Raises:
        NothingToDoError: the design is for a detector or a segmenter.
        DesignError: the design is for another input or other classes.
    """
    check_is_classifier(design.model)
    classes = facts.classes if design.num_classes is None else design.num_classes
    if (design.input_shape, classes) != (facts.input_shape, facts.classes):
        head = "" if design.num_classes is None else f" and {classes} classes"
        raise DesignError(
            f"the design is for {size_text(design.input_shape)}{head}, but {facts.name} has "
            f"{size_text(facts.input_shape)} and {facts.classes} classes: create a matching design "
            f"with 'bamsearch insert {design.model} --data {facts.name} -o DIR'"
        )


def check_is_classifier(model: str) -> None:
    """Raise NothingToDoError for torchvision's detectors, segmenters and optical flow models."""
    source, name = split_model(model)
    if source == "torchvision" and name in torchvision.models.list_models():
        packages = torchvision.models.get_model_builder(name).__module__.split(".")
        kind = next((text for word, text in _NO_CLASSIFIERS.items() if word in packages), None)
        if kind is not None:
            raise NothingToDoError(f"{name} is {kind}, not a classifier: {OWN_LOOP}")


def _with_all(
    design: Design, module: nn.Module, path: Path, default: PixelStatistics
) -> InitialModel:
    """A network with trained weights for base and BAM."""
    return InitialModel(design, module, *_pixels(design, path, default), str(path), _closed(module))


def _with_base(design: Design, weights: str, default: PixelStatistics) -> InitialModel:
    """A network with trained weights for its base; BAM and a head with other classes are random."""
    loaded = build_with_weights(
        design.model, weights, design.input_shape, num_classes=design.num_classes
    )
    design = replace(design, num_classes=loaded.num_classes, weights=loaded.published)
    module = loaded.module
    if design.insertions:
        module = insert_bam(loaded.module, design=design, check=design.how == "auto")
    base = set(dict(loaded.module.named_parameters()))
    fresh = {name for name, _ in module.named_parameters() if name not in base}
    pixels = _pixels(design, Path(weights), default)
    return InitialModel(
        design, module, *pixels, loaded.source, frozenset(fresh | set(loaded.left_random))
    )


def _has_bam(weights: str) -> bool:
    """Whether weights is a file of a network with BAM."""
    path = Path(weights)
    return path.is_file() and read_checkpoint(path).has_bam


def _closed(module: nn.Module) -> frozenset[str]:
    """Parameters of the BAMs whose gate is 0, which have not been trained yet."""
    closed = {
        f"{path}."
        for path, layer in module.named_modules()
        if isinstance(layer, BAM) and layer.gate is not None and not layer.gate.item()
    }
    names = [name for name, _ in module.named_parameters()]
    return frozenset(name for name in names if name.startswith(tuple(closed)))


def _pixels(design: Design, weights: Path, default: PixelStatistics) -> PixelStatistics:
    """The normalisation that the weights were trained with, or the default."""
    channels = design.input_shape[0]
    try:
        pixels = PIXELS.read(weights.parent / FACTS_FILE)
        if len(pixels["mean"]) == len(pixels["std"]) == channels:
            return tuple(pixels["mean"]), tuple(pixels["std"])
    except (OSError, TrainingError):
        pass  # not trained by bamsearch
    published = is_versioned(design.model) and channels == 3
    return normalisation(design.model, design.weights) if published else default
