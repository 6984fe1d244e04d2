"""What a training starts from: a network, where its weights are from, and how it sees pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torchvision
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.data.splits import Data
from bamsearch.errors import DesignError, NothingToDoError, TrainingError
from bamsearch.graph.checkpoints import load_all, read_checkpoint
from bamsearch.graph.designs import build, load
from bamsearch.graph.initial import initialise_bams, undisturbed
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import is_versioned, split_model
from bamsearch.graph.normalisation import normalisation
from bamsearch.graph.weights import build_with_weights
from bamsearch.records import DataFacts, Design
from bamsearch.training.about import FACTS_FILE, PIXELS
from bamsearch.training.classes import OWN_LOOP, check_gives_classes

RANDOM = "random"
"""What to give for weights where those beside the design are not wanted."""

Pixels = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of pixels in 0..1, a number for each channel."""

# torchvision's rooms of models that give boxes, masks or flow.
_NO_CLASSIFIERS = {
    "detection": "a detector",
    "segmentation": "a segmenter",
    "optical_flow": "a model of optical flow",
}


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A network before training.

    Attributes:
        design: what it was built from; None for a module of the caller's.
        module: the network, on the CPU; training changes it.
        mean: taken from the pixels in 0..1, one number a channel.
        std: what they are then divided by.
        weights: where trained weights are from; None where all are random.
        fresh: with trained weights, the names of the parameters that are random nonetheless.
    """

    design: Design | None
    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str | None = None
    fresh: frozenset[str] = frozenset()


def start_with(
    design: Design,
    data: Data,
    *,
    weights: str | None = None,
    beside: Path | None = None,
    seed: int = 0,
) -> Start:
    """The network of a design, to be trained.

    Its random weights follow from the seed: those of the base are the same for all designs of a
    model, and those of a BAM for all designs with that site and hidden width.

    Pixels are normalised by the training split; with trained weights as these were trained, as far
    as that is known: what their ``train.json`` says, else what torchvision and timm publish.

    Args:
        design: what to build.
        data: what it is trained on.
        weights: ``DEFAULT`` or a published name, or a file of the base; a file of the network with
            BAM; ``random``.
        beside: the ``model.safetensors`` beside the design, which is taken where weights is None.
        seed: of the random weights.

    Raises:
        DesignError: the design is for another input or other classes.
        NothingToDoError: a detector, or another network without scores of classes.
        ModelError, WeightsError: as :func:`bamsearch.build` and
            :func:`bamsearch.graph.weights.build_with_weights`.
    """
    check_fits(design, data.facts)
    usual = (data.mean, data.std)
    with undisturbed():
        torch.default_generator.manual_seed(seed)
        if weights is None and beside is not None:
            start = _with_all(design, load(beside.parent), beside, usual)
        elif weights is None or weights == RANDOM:
            start = Start(design, build(design), *usual)
            initialise_bams(start.module, design, seed)
        elif _has_bam(weights):
            start = _with_all(design, _load_all(design, Path(weights)), Path(weights), usual)
        else:
            start = _with_base(design, weights, usual)
            initialise_bams(start.module, design, seed)
    check_gives_classes(start.module, design.model, data.facts)
    return start


def check_fits(design: Design, facts: DataFacts) -> None:
    """Raise an error where a design cannot be trained on the data.

    Raises:
        NothingToDoError: a design of a detector or a segmenter.
        DesignError: the design is for another input or other classes.
    """
    check_is_classifier(design.model)
    classes = facts.classes if design.num_classes is None else design.num_classes
    if (design.input_shape, classes) != (facts.input_shape, facts.classes):
        head = "" if design.num_classes is None else f" and {classes} classes"
        raise DesignError(
            f"the design is for {_sizes(design.input_shape)}{head}, and {facts.name} has "
            f"{_sizes(facts.input_shape)} and {facts.classes}: make one with "
            f"'bamsearch insert {design.model} --data {facts.name} -o DIR'"
        )


def check_is_classifier(model: str) -> None:
    """Raise NothingToDoError for a MODEL that torchvision has for boxes, masks or flow."""
    source, name = split_model(model)
    if source == "torchvision" and name in torchvision.models.list_models():
        room = torchvision.models.get_model_builder(name).__module__.split(".")
        kind = next((text for word, text in _NO_CLASSIFIERS.items() if word in room), None)
        if kind is not None:
            raise NothingToDoError(f"{name} is {kind}, no classifier: {OWN_LOOP}")


def _with_all(design: Design, module: nn.Module, path: Path, usual: Pixels) -> Start:
    """A network that has weights of all of it."""
    return Start(design, module, *_pixels(design, path, usual), str(path), _closed(module))


def _load_all(design: Design, path: Path) -> nn.Module:
    module = build(design)
    load_all(module, path, "this design")
    return module


def _with_base(design: Design, weights: str, usual: Pixels) -> Start:
    """The network with weights of its base; BAM, and a head of other classes, are random."""
    loaded = build_with_weights(
        design.model, weights, design.input_shape, num_classes=design.num_classes
    )
    design = replace(design, num_classes=loaded.num_classes, weights=loaded.published)
    module = loaded.module
    if design.insertions:
        module = insert_bam(loaded.module, design=design, check=design.how == "auto")
    base = set(dict(loaded.module.named_parameters()))
    fresh = {name for name, _ in module.named_parameters() if name not in base}
    pixels = _pixels(design, Path(weights), usual)
    return Start(design, module, *pixels, loaded.source, frozenset(fresh | set(loaded.left_random)))


def _has_bam(weights: str) -> bool:
    """Whether weights are a file of a network with BAM in it."""
    path = Path(weights)
    return path.is_file() and read_checkpoint(path).has_bam


def _closed(module: nn.Module) -> frozenset[str]:
    """Parameters of the BAMs whose gate is 0: nothing has been learnt there yet."""
    closed = {
        f"{path}."
        for path, layer in module.named_modules()
        if isinstance(layer, BAM) and layer.gate is not None and not layer.gate.item()
    }
    names = [name for name, _ in module.named_parameters()]
    return frozenset(name for name in names if name.startswith(tuple(closed)))


def _pixels(design: Design, weights: Path, usual: Pixels) -> Pixels:
    """How the pixels were normalised that the weights were trained with."""
    channels = design.input_shape[0]
    try:
        pixels = PIXELS.read(weights.parent / FACTS_FILE)
        if len(pixels["mean"]) == len(pixels["std"]) == channels:
            return tuple(pixels["mean"]), tuple(pixels["std"])
    except (OSError, TrainingError):
        pass  # no training of ours
    published = is_versioned(design.model) and channels == 3
    return normalisation(design.model, design.weights) if published else usual


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
