"""Build models by name, with their input shapes and published numbers.

A MODEL is a torchvision name (``resnet101``), ``timm:NAME``, ``package.module:factory`` or
``path/file.py:factory``, split at the last colon. Nothing is downloaded unless weights are
requested.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast
from unittest import mock

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import WeightsEnum

from bamsearch.errors import MissingExtraError, ModelError, WeightsError, failure_text
from bamsearch.records import Design, InputShape, check_input_shape
from bamsearch.records.sources import name_of
from bamsearch.records.sources import split_model as split_model

DEFAULT_INPUT = (3, 224, 224)
_DETECTION_INPUT = (3, 800, 800)
# Frames per clip in torchvision's video references, for which `_ops` is published.
_CLIP_FRAMES = 16


@dataclass(frozen=True, slots=True)
class Published:
    """Numbers that torchvision publishes for a model's default weights.

    Attributes:
        params: number of parameters.
        gmacs: ``_ops``: 10^9 multiply-adds of convolution, linear and attention, 3 decimals.
    """

    params: int
    gmacs: float


def model_names() -> list[str]:
    """All torchvision model names, sorted."""
    return sorted(torchvision.models.list_models())


def is_versioned(model: str) -> bool:
    """Whether package versions determine the MODEL completely, so that facts can be cached."""
    return split_model(model)[0] in ("torchvision", "timm")


def named_module(
    model: nn.Module | str, input_shape: InputShape | None = None
) -> tuple[str, nn.Module, tuple[int, ...]]:
    """The name, the module and the input shape of a module or a MODEL.

    A module is named ``module:class``; a MODEL is built with random weights. The default shape is
    the MODEL's, and (3, 224, 224) for a module.
    """
    if isinstance(model, nn.Module):
        shape = check_input_shape(DEFAULT_INPUT if input_shape is None else input_shape)
        return name_of(type(model)), model, shape
    shape = default_input_shape(model) if input_shape is None else check_input_shape(input_shape)
    return model, build_model(model, shape), shape


def build_model(
    model: str,
    input_shape: Sequence[int] | None = None,
    *,
    num_classes: int | None = None,
    weights: str | None = None,
    initialise: bool = True,
) -> nn.Module:
    """Build a MODEL with random weights, in train mode, on the CPU.

    Args:
        model: a MODEL, see the module docstring.
        input_shape: input shape for models built for a single size (ViT, MaxViT); None is the
            model's default.
        num_classes: classes of the head; None is the model's default.
        weights: build the variant that torchvision builds for these published weights, without
            loading them: see :attr:`bamsearch.Design.weights`.
        initialise: False leaves the weights uninitialised, which is enough to trace and count, and
            saves time and memory for networks with 640 M parameters.

    Raises:
        ModelError: unknown model, or its builder failed.
        MissingExtraError: ``timm:`` requires timm, which is not installed.
    """
    shape = tuple(input_shape or default_input_shape(model))
    builder, arguments = _builder(model, shape, weights, num_classes)
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    try:
        with (
            # trunc_normal_ draws again until all values are in its range.
            torch.random.fork_rng(devices=[], enabled=not initialise),
            nullcontext() if initialise else _Uninitialised(),
            _no_tensors() if weights else nullcontext(),
        ):
            built = builder(**arguments)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{model} cannot be built: {failure_text(error)}") from error
    if not isinstance(built, nn.Module):
        raise ModelError(f"{model} returns {type(built).__name__}, not a torch.nn.Module")
    return built


def base_model(design: Design, *, initialise: bool = True) -> nn.Module:
    """Build the network of a design without BAM, see :func:`build_model`."""
    return build_model(
        design.model,
        design.input_shape,
        num_classes=design.num_classes,
        weights=design.weights,
        initialise=initialise,
    )


def default_input_shape(model: str) -> tuple[int, ...]:
    """Input shape of the model's published weights: (C, H, W), or (C, T, H, W) for video.

    Detectors, which resize their input, get 800x800; factories, which publish nothing, 224x224.
    """
    source, name = split_model(model)
    if source == "timm":
        return tuple(timm_config(name).input_size)
    if source != "torchvision":
        return DEFAULT_INPUT
    module = _torchvision_builder(name).__module__
    if ".detection." in module:
        return _DETECTION_INPUT
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    size = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    height, width = (size[0], size[-1]) if size else DEFAULT_INPUT[1:]
    if ".video." in module:
        return (3, _CLIP_FRAMES, height, width)
    return (3, height, width)


def published(model: str) -> Published | None:
    """Numbers published for the model's default weights; None for other than torchvision models."""
    source, name = split_model(model)
    if source != "torchvision":
        return None
    meta = torchvision.models.get_model_weights(name).DEFAULT.meta
    return Published(meta["num_params"], meta["_ops"])


def published_weights(name: str, weights: str) -> WeightsEnum:
    """Torchvision's enum entry for published weights of a model, in float form."""
    published = torchvision.models.get_model_weights(name)
    names = ["DEFAULT", *published.__members__]
    if weights in names:
        entry: WeightsEnum = getattr(published, weights)
        # Quantized weights link to the float weights they were derived from.
        return cast(WeightsEnum, entry.meta.get("unquantized", entry))
    # A design made from quantized weights names the float ones.
    entries = [entry.meta.get("unquantized") for entry in published]
    unquantized = next((entry for entry in entries if entry and entry.name == weights), None)
    if unquantized is None:
        raise WeightsError(f"{name} has no weights {weights!r}: choose from {', '.join(names)}")
    return cast(WeightsEnum, unquantized)


def _builder(
    model: str, input_shape: tuple[int, ...], weights: str | None, num_classes: int | None
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callable that builds a MODEL, and the arguments that prevent downloads."""
    source, name = split_model(model)
    if source == "torchvision":
        builder = _torchvision_builder(name)
        return builder, _torchvision_arguments(name, builder, input_shape, weights, num_classes)
    if source == "timm":
        timm = _import_timm()
        if name not in timm.list_models():
            raise ModelError(_unknown("timm model", name, timm.list_models()))
        return timm.create_model, {"model_name": name, "pretrained": False}
    return load_function(source, name), {}


def _torchvision_arguments(
    name: str,
    builder: Callable[..., Any],
    input_shape: tuple[int, ...],
    weights: str | None,
    num_classes: int | None,
) -> dict[str, Any]:
    """Arguments for torchvision's builder."""
    family = builder.__module__.rpartition(".")[2]
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    if family in ("googlenet", "inception"):
        # Their custom initialisation takes half a minute and warns; torch's default works as well.
        arguments["init_weights"] = False
    if weights is not None:
        entry = published_weights(name, weights)
        if num_classes is None:
            return arguments | {"weights": entry}
        # torchvision refuses num_classes together with weights: set its options here instead.
        if family in ("googlenet", "inception"):
            arguments["transform_input"] = True
        if family in ("deeplabv3", "fcn"):
            arguments["aux_loss"] = True
    if family == "vision_transformer":
        arguments["image_size"] = input_shape[-1]
    if family == "maxvit":
        arguments["input_size"] = input_shape[-2:]
    return arguments


def _torchvision_builder(name: str) -> Callable[..., Any]:
    if name not in torchvision.models.list_models():
        raise ModelError(_unknown("model", name, model_names()))
    builder: Callable[..., Any] = torchvision.models.get_model_builder(name)
    return builder


def _unknown(
    kind: str, name: str, names: list[str], otherwise: str = "'bamsearch models' lists them"
) -> str:
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else otherwise
    return f"no {kind} is called {name!r}: {hint}"


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise MissingExtraError("timm", "timm") from error


def timm_config(name: str) -> Any:
    """Timm's input size, mean and standard deviation of a model."""
    timm = _import_timm()
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise ModelError(_unknown("timm model", name, timm.list_models()))
    return config


def load_function(source: str, name: str, kind: str = "factory") -> Callable[..., Any]:
    """Load a user's function: ``package.module:function`` or ``path/file.py:function``.

    Args:
        source: module or file, before the colon; the file's folder, or the current one for a
            module, is importable while it is loaded.
        name: the function, after the colon.
        kind: purpose of the function, for messages: ``factory`` or ``score``.
    """
    is_file = source.endswith(".py")
    if is_file and not os.path.isfile(source):
        raise ModelError(f"no file {source}: a {kind} is given as path/file.py:{kind}")
    folder = os.path.dirname(os.path.abspath(source)) if is_file else os.getcwd()
    with _importable(folder):
        try:
            module = _load_file(source) if is_file else importlib.import_module(source)
        except (Exception, SystemExit) as error:
            raise ModelError(f"{source} cannot be imported: {failure_text(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if inspect.isroutine(value)]
        available = ", ".join(functions[:5]) or "no function"
        raise ModelError(_unknown(f"{kind} in {source}", name, functions, f"it has {available}"))
    checked: Callable[..., Any] = function
    return checked


def _load_file(path: str) -> ModuleType:
    # Registered in sys.modules, where pickling and dataclasses look the module up.
    name = f"bamsearch_model_{os.path.splitext(os.path.basename(path))[0]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Put folder on the import path: console scripts, unlike ``python -m``, leave it out."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


@contextmanager
def _no_tensors() -> Iterator[None]:
    """Let torchvision build for published weights without fetching or loading them."""
    with (
        mock.patch.object(WeightsEnum, "get_state_dict", return_value={}),
        mock.patch.object(nn.Module, "load_state_dict", return_value=None),
    ):
        yield


class _Uninitialised(TorchFunctionMode):
    """Skip functions that fill tensors in place: ``torch.nn.init`` and the methods it uses.

    ``torch.device("meta")`` would be simpler, but every regnet reads the value of a tensor.
    """

    _FILLING = frozenset(
        getattr(torch.Tensor, name)
        for name in ("normal_", "uniform_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_")
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._FILLING or getattr(func, "__module__", "") == "torch.nn.init":
            filled = args[0] if args else kwargs.get("tensor")
            # Only parameters: buffers hold indices, such as Swin's, that the graph depends on.
            if isinstance(filled, nn.Parameter):
                return filled
        return func(*args, **kwargs)
