"""Trained weights for a MODEL: torchvision's and timm's published ones, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torchvision
from torch import Tensor, nn

from bamsearch.errors import WeightsError
from bamsearch.graph.checkpoints import (
    Checkpoint,
    Stored,
    copy_into,
    misfit_text,
    read_checkpoint,
    with_counters,
)
from bamsearch.graph.models import build_model, published_weights, split_model


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with weights in it.

    Attributes:
        module: the model, in train mode, on the CPU.
        source: what the weights are, such as ``IMAGENET1K_V2`` or a file's path.
        published: their name where torchvision published them, for :class:`bamsearch.Design`.
        num_classes: classes of the head where they are not the model's own, else None.
        left_random: keys that keep their random values: the head, where its classes are others.
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
    """Build a MODEL with trained weights.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        weights: ``DEFAULT`` or a published name, fetched or taken from torch's cache; else a file,
            see :func:`bamsearch.graph.checkpoints.read_checkpoint`.
        input_shape: as :func:`bamsearch.graph.models.build_model`.
        num_classes: classes of the head; where they are not the weights' own, all but the head is
            loaded.

    Raises:
        WeightsError: unknown name, no network, unreadable file, weights of another model, or NaN
            or infinite ones.
        ModelError: no such model.
    """
    path = Path(weights)
    if path.suffix or path.exists():
        checkpoint, source = read_checkpoint(path), str(path)
        published = _published_as(model, path)
    else:
        fetched, published = _fetch(model, weights)
        source = published or f"timm {split_model(model)[1]}"
        checkpoint = Checkpoint(Path(source), (Stored("", fetched),))
    default = build_model(model, input_shape, weights=published, initialise=False)
    state = checkpoint.state_for(default)
    if num_classes is None:
        num_classes = _classes_of(default, state)
    module = build_model(model, input_shape, num_classes=num_classes, weights=published)
    left_random = _load(module, state, source)
    return Loaded(module, source, published, num_classes, left_random)


def differing_keys(module: nn.Module, state: dict[str, Tensor]) -> list[str] | None:
    """Keys whose shapes differ as a head of other classes would; None if more than that differs.

    That is: the same keys on both sides, and no difference but in the first axis of at most four
    tensors (weight and bias, twice where there is an auxiliary head).
    """
    own = module.state_dict()
    if own.keys() != state.keys():
        return None
    differing = [key for key, value in own.items() if value.shape != state[key].shape]
    if len(differing) > 4 or any(own[k].shape[1:] != state[k].shape[1:] for k in differing):
        return None
    return differing


def _load(module: nn.Module, state: dict[str, Tensor], source: str) -> tuple[str, ...]:
    """Load state into module, all but a head of other classes; return what was left out."""
    state = with_counters(module, state)
    differing = differing_keys(module, state)
    if differing is None:
        name = type(module).__name__
        raise WeightsError(f"{source} does not fit {name}: {misfit_text(module, state)}")
    fitting = {key: value for key, value in state.items() if key not in differing}
    copy_into(module, fitting, source)
    return tuple(differing)


def _classes_of(default: nn.Module, state: dict[str, Tensor]) -> int | None:
    """Classes of the weights' own head where the model's default head does not fit it."""
    differing = differing_keys(default, with_counters(default, state))
    if not differing:
        return None
    return int(state[differing[-1]].shape[0])


def _published_as(model: str, path: Path) -> str | None:
    """The name under which torchvision published a file: its own name has its hash in it."""
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
            f"weights {weights} of {model} cannot be fetched ({_reason(error)}): "
            "download them elsewhere and give the file with --weights FILE"
        ) from error
    raise WeightsError(f"{model} has no published weights {weights!r}: give a file")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
