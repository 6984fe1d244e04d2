"""Trained weights for a MODEL: torchvision's and timm's published ones, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from bamsearch.errors import WeightsError
from bamsearch.graph.models import build_model, published_weights, split_model

# Under which key training scripts keep the weights in a checkpoint.
_CHECKPOINT_KEYS = ("state_dict", "model", "model_state_dict", "net")

_AUXILIARY = ("aux_classifier.", "aux1.", "aux2.")
_COUNTER = ".num_batches_tracked"


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
            ``.safetensors`` or one that ``torch.load(weights_only=True)`` reads.
        input_shape: as :func:`bamsearch.graph.models.build_model`.
        num_classes: classes of the head; where they are not the weights' own, all but the head is
            loaded.

    Raises:
        WeightsError: unknown name, no network, unreadable file, or weights of another model.
        ModelError: no such model.
    """
    path = Path(weights)
    if path.suffix or path.exists():
        state, source = read_weights(path), str(path)
        published = _published_as(model, path)
    else:
        state, published = _fetch(model, weights)
        source = published or f"timm {split_model(model)[1]}"
    if num_classes is None:
        num_classes = _classes_of(model, state, input_shape, published)
    module = build_model(model, input_shape, num_classes=num_classes, weights=published)
    left_random = _load(module, state, source)
    return Loaded(module, source, published, num_classes, left_random)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a file; a checkpoint's inner ``state_dict`` is taken out.

    Raises:
        WeightsError: no such file, not readable without running code in it, or without tensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give DEFAULT, a published name or a file")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no whole safetensors file: {error}") from error
    except Exception as error:
        # torch.load has its own long advice to turn the check off; a state_dict needs none.
        raise WeightsError(
            f"{path} cannot be read with weights_only=True ({type(error).__name__}): "
            "save model.state_dict(), or a .safetensors file"
        ) from error
    for key in _CHECKPOINT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not any(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path} holds no tensors by name: save model.state_dict()")
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    consume_prefix_in_state_dict_if_present(state, "module.")
    return state


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
    state = _as_built_by_name(module, state)
    differing = differing_keys(module, state)
    if differing is None:
        name = type(module).__name__
        raise WeightsError(f"{source} does not fit {name}: {_misfit(module, state)}")
    fitting = {key: value for key, value in state.items() if key not in differing}
    module.load_state_dict(fitting, strict=False)
    return tuple(differing)


def _as_built_by_name(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without what torchvision's builders add or change only when given weights.

    Segmentation models get an auxiliary head, which is for training; GoogLeNet loses the two that
    are in its file; detectors get a frozen norm, which counts no batches.
    """
    own = module.state_dict()
    counters = {key: own[key] for key in own.keys() - state.keys() if key.endswith(_COUNTER)}
    has_head = any(key.startswith(_AUXILIARY) for key in own)
    kept = {k: v for k, v in state.items() if has_head or not k.startswith(_AUXILIARY)}
    return kept | counters


def _misfit(module: nn.Module, state: dict[str, Tensor]) -> str:
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    parts = [
        f"{len(keys)} {what} (such as {keys[0]})"
        for what, keys in (("missing", missing), ("unknown", unexpected), ("misshapen", shapes))
        if keys
    ]
    return ", ".join(parts)


def _classes_of(
    model: str,
    state: dict[str, Tensor],
    input_shape: tuple[int, ...] | None,
    published: str | None,
) -> int | None:
    """Classes of the weights' own head where the model's default head does not fit it."""
    default = build_model(model, input_shape, weights=published, initialise=False)
    differing = differing_keys(default, _as_built_by_name(default, state))
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
