"""Pretrained weights for a MODEL, from torchvision, timm or a file, and the inputs they expect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from bamsearch.errors import WeightsError, first_line
from bamsearch.graph.checkpoints import (
    Stored,
    WeightFile,
    copy_into,
    misfit_text,
    read_checkpoint,
    with_counters,
)
from bamsearch.graph.models import (
    build_model,
    default_input_shape,
    published_weights,
    split_model,
    timm_config,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with weights in it.

    Attributes:
        module: the model, in train mode, on the CPU.
        source: origin of the weights, such as ``IMAGENET1K_V2`` or the path of a file.
        published: their name if torchvision published them, for :class:`bamsearch.Design`.
        num_classes: classes of the head if they differ from the model's default, else None.
        left_random: keys with random values: those of the head, if its classes differ.
    """

    module: nn.Module
    source: str
    published: str | None
    num_classes: int | None
    left_random: tuple[str, ...]


def build_with_weights(
    model: str,
    weights: str,
    input_shape: tuple[int, ...] | None = None,
    *,
    num_classes: int | None = None,
) -> Loaded:
    """Build a MODEL with pretrained weights.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        weights: ``DEFAULT`` or a published name, downloaded or from torch's cache; else a file,
            see :func:`bamsearch.graph.checkpoints.read_checkpoint`.
        input_shape: as :func:`bamsearch.graph.models.build_model`.
        num_classes: classes of the head; if the weights have others, all but the head is loaded.
    """
    path = Path(weights)
    if path.suffix or path.exists():
        checkpoint, source = read_checkpoint(path), str(path)
        published = _published_as(model, path)
    else:
        fetched, published = _fetch(model, weights)
        source = published or f"timm {split_model(model)[1]}"
        checkpoint = WeightFile(Path(source), (Stored("", fetched),))
    before = torch.get_rng_state()
    module = build_model(model, input_shape, num_classes=num_classes, weights=published)
    state = checkpoint.state_for(module)
    if num_classes is None and (num_classes := _classes_of(module, state)) is not None:
        # Once more, with the head of the weights; the same seed gives the same network.
        torch.set_rng_state(before)
        module = build_model(model, input_shape, num_classes=num_classes, weights=published)
    left_random = _load(module, state, source)
    return Loaded(module, source, published, num_classes, left_random)


def normalisation(
    model: str, weights: str | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per RGB channel, for pixels in 0..1, that a MODEL expects.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        weights: name of torchvision's published weights; None is the default.

    Returns:
        The values of torchvision or timm; ImageNet's for factories. Detectors normalise inside:
        means of 0 and deviations of 1.
    """
    source, name = split_model(model)
    if source == "timm":
        config = timm_config(name)
        return tuple(config.mean), tuple(config.std)
    if source != "torchvision":
        return IMAGENET_MEAN, IMAGENET_STD
    default_input_shape(model)  # raises ModelError for an unknown model
    transforms = published_weights(name, weights or "DEFAULT").transforms()
    if not hasattr(transforms, "mean"):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return tuple(transforms.mean), tuple(transforms.std)


def differing_keys(module: nn.Module, state: dict[str, Tensor]) -> list[str] | None:
    """Keys whose shapes differ as for a head with other classes; None if more differs.

    Both sides must have the same keys, and differ only in the first axis of at most four tensors
    (weight and bias, twice with an auxiliary head).
    """
    current = module.state_dict()
    if current.keys() != state.keys():
        return None
    differing = [key for key, value in current.items() if value.shape != state[key].shape]
    if len(differing) > 4 or any(current[k].shape[1:] != state[k].shape[1:] for k in differing):
        return None
    return differing


def _load(module: nn.Module, state: dict[str, Tensor], source: str) -> tuple[str, ...]:
    """Load state into module except a head with other classes; return the keys left out."""
    state = with_counters(module, state)
    differing = differing_keys(module, state)
    if differing is None:
        name = type(module).__name__
        raise WeightsError(f"{source} does not fit {name}: {misfit_text(module, state)}")
    fitting = {key: value for key, value in state.items() if key not in differing}
    copy_into(module, fitting, source)
    return tuple(differing)


def _classes_of(default: nn.Module, state: dict[str, Tensor]) -> int | None:
    """Classes of the head in the weights, if they differ from the model's default."""
    differing = differing_keys(default, with_counters(default, state))
    if not differing:
        return None
    return int(state[differing[-1]].shape[0])


def _published_as(model: str, path: Path) -> str | None:
    """Name of the torchvision weights with this file name, which contains a hash; else None."""
    source, name = split_model(model)
    if source != "torchvision" or name not in torchvision.models.list_models():
        return None
    entries = torchvision.models.get_model_weights(name)
    floats = [entry.meta.get("unquantized", entry) for entry in entries]
    return next((entry.name for entry in floats if entry.url.endswith(f"/{path.name}")), None)


def _fetch(model: str, weights: str) -> tuple[dict[str, Tensor], str | None]:
    """Tensors published by torchvision or timm, and torchvision's name for them."""
    source, name = split_model(model)
    try:
        if source == "torchvision":
            entry = published_weights(name, weights)
            return dict(entry.get_state_dict(progress=False, check_hash=True)), entry.name
        if source == "timm" and weights == "DEFAULT":
            import timm

            return timm.create_model(name, pretrained=True).state_dict(), None
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"weights {weights} of {model} cannot be downloaded ({first_line(error)}): "
            "download them elsewhere and pass the file with `weights=FILE`"
        ) from error
    raise WeightsError(f"{model} has no published weights {weights!r}: give a file")
