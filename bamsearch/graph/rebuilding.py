"""The design of a network with BAM, with the MODEL that rebuilds the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torchvision
from torch import nn

from bamsearch.errors import DesignError, ModelError
from bamsearch.graph.attach import Bams
from bamsearch.graph.models import build_model, model_names, split_model
from bamsearch.records import Design


def design_of(network: nn.Module) -> Design:
    """The design that was inserted into a network, with the MODEL that rebuilds the network.

    A torchvision module is named after the function that builds an equal one: all functions of its
    file are tried, and their networks compared in layers, settings and shapes of weights.

    Raises:
        DesignError: the network has no BAM from :func:`bamsearch.insert_bam`, or no MODEL builds an
            equal network.
    """
    name = type(network).__name__
    design = next((bams.design for bams in network.modules() if isinstance(bams, Bams)), None)
    if design is None:
        raise DesignError(
            f"{name} has no BAM from insert_bam: save its design, save(design, folder, module)"
        )
    home, _ = split_model(design.model)
    builders = {model: torchvision.models.get_model_builder(model) for model in model_names()}
    family = [model for model, builder in builders.items() if builder.__module__ == home]
    for model in family or [design.model]:
        with suppress(ModelError):
            equal = _equal(replace(design, model=model), network)
            if equal is not None and home != "__main__":
                return equal
    raise DesignError(
        f"no MODEL is known that builds this {name}: insert BAM by name, "
        "insert_bam('FILE.py:FUNCTION'), or name it in a design, save(design, folder, module)"
    )


def _equal(design: Design, network: nn.Module) -> Design | None:
    """The design, with the classes of the network's head, if its base equals the network's."""
    base = build_model(
        design.model,
        design.input_shape,
        num_classes=design.num_classes,
        weights=design.weights,
        initialise=False,
    )
    ours, theirs = _shapes(network), _shapes(base)
    if ours.keys() != theirs.keys():
        return None
    other = [shape[0] for key, shape in ours.items() if shape != theirs[key] and shape]
    if other and design.num_classes is None:
        return _equal(replace(design, num_classes=min(other)), network)
    equal = ours == theirs and _settings(base).items() <= _settings(network).items()
    return design if equal else None


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights except BAM's."""
    bams = [f"{path}." for path, part in network.named_modules() if isinstance(part, Bams)]
    state = network.state_dict().items()
    return {key: tuple(v.shape) for key, v in state if not key.startswith(tuple(bams))}


def _settings(network: nn.Module) -> dict[tuple[str, str], Any]:
    """Class and plain attributes of each module, and all options of each layer."""
    settings: dict[tuple[str, str], Any] = {}
    for path, part in network.named_modules():
        has_parts = next(part.children(), None) is not None
        settings[path, "class"] = type(part).__name__ if has_parts else repr(part)
        settings |= {
            (path, key): value
            for key, value in vars(part).items()
            if isinstance(value, int | float | str) and key != "training" and key[0] != "_"
        }
    return settings
