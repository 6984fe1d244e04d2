"""The feature network: the part of a model that contains the sites, and its trace.

Usually this is the whole model, traced by torch.fx or recorded
(:mod:`bamsearch.graph.tracing.recording`). For a detector that cannot be traced or recorded, it is
the backbone, whose input size follows from the detector's resizing.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from bamsearch.attention.maps import in_mode
from bamsearch.errors import ModelError
from bamsearch.graph.roles import Outputs, Probed, probe, run_trace
from bamsearch.graph.spine import find_spine
from bamsearch.graph.tracing.copying import meta_copy, refuse_uncopyable
from bamsearch.graph.tracing.example import Example, example_from, example_of
from bamsearch.graph.tracing.recording import Recording, isolate_run, record
from bamsearch.graph.tracing.tracer import Trace, trace
from bamsearch.text import size_text

# (part to trace, child with all sites), innermost first: a pyramid's extra pooling and SSD's extra
# layers are not stages. SSDlite iterates over the layers of `features` without calling it.
_FEATURE_NETWORKS = (
    ("backbone.body", ""),
    ("backbone.features", ""),
    ("backbone", "features"),
    ("backbone", ""),
    ("context_encoder", ""),  # RAFT's
)
_DETECTORS = ("torchvision.models.detection", "torchvision.models.optical_flow")
# An incomplete recording with this share of the convolutions has seen every stage.
_ENOUGH = 0.9


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """The part of a model that is traced and rewritten.

    Attributes:
        path: its dotted path, "" for the whole model.
        module: the part itself, not a copy.
        input_shape: shape of its input when the model gets the image, without the batch.
        deep: its trace, on the meta device and in eval mode.
        within: the child with all sites, "" for any: SSD's extra layers are not stages.
        outputs: outputs of the nodes of deep for this input; None until probed.
        recording: the recording behind deep; None for a symbolic trace.
        stopped: reason and source line where the recording stopped, after nearly all convolutions:
            sites are valid up to there; None if deep is complete.
    """

    path: str
    module: nn.Module
    input_shape: tuple[int, ...]
    deep: Trace
    within: str = ""
    outputs: Outputs | None = None
    recording: Recording | None = None
    stopped: str | None = None

    def probe(self) -> Probed:
        """Find the feature maps, among which the sites are."""
        with isolate_run():
            outputs = self.outputs or run_trace(self.deep, self.input_shape)
        probed = probe(self.deep, self.input_shape, outputs, self.recording)
        if not self.within:
            return probed

        def is_inside(node: fx.Node) -> bool:
            paths = [f"{call.path}." for call in self.deep.owner[node].chain()]
            return node.op == "placeholder" or any(p.startswith(f"{self.within}.") for p in paths)

        return replace(probed, maps={n: m for n, m in probed.maps.items() if is_inside(n)})


def find_network(
    model: nn.Module, input_shape: tuple[int, ...], example_inputs: Any = None
) -> FeatureNetwork:
    """Find the feature network: the whole model, if that can be traced or recorded.

    Raises:
        ModelError: the model can neither be traced nor recorded, or does not accept this input.
        InvalidValueError: example_inputs contain no image of input_shape.
    """
    refuse_uncopyable(model)
    if example_inputs is not None:
        return _recorded(model, example_from(model, example_inputs, input_shape))
    backbone = None
    try:
        with isolate_run():
            traced = trace(meta_copy(model))
    except ModelError:
        for prefix in _detectors(model):
            backbone = backbone or _feature_network(model, input_shape, prefix)
    else:
        if sum(not node.args for node in traced.graph.find_nodes(op="placeholder")) <= 1:
            with suppress(ModelError), isolate_run():
                return FeatureNetwork(
                    "", model, input_shape, traced, "", run_trace(traced, input_shape)
                )
    return backbone or _recorded(model, example_of(model, input_shape))


def _recorded(model: nn.Module, example: Example) -> FeatureNetwork:
    """Record the whole model, or fall back to its backbone if the recording stops early."""
    shape = tuple(example.image.shape[1:])
    recording = record(model, example)
    outputs = Outputs(recording.shapes, set(recording.trace.graph.nodes))
    whole = FeatureNetwork(
        "", model, shape, recording.trace, "", outputs, recording, recording.stopped
    )
    if recording.stopped is not None or not _has_a_spine(whole):
        with suppress(ModelError):
            backbone = _feature_network(model, shape)
            if backbone is not None:
                return backbone
    if recording.stopped is not None:
        several = len(example.args) + len(example.kwargs) > 1
        if several or _share_of_convolutions(recording.trace) < _ENOUGH:
            hint = ". It takes more than an image: give example_inputs" if several else ""
            raise ModelError(
                f"{type(model).__name__} does not accept an input of {size_text(shape)}: "
                f"{recording.stopped}{hint}"
            )
    return whole


def _has_a_spine(whole: FeatureNetwork) -> bool:
    """False if the output is not a tensor, or a submodule is called several times in parallel."""
    output = whole.deep.graph.find_nodes(op="output")
    if not any(node.all_input_nodes for node in output):
        return False
    reductions = find_spine(whole.deep, whole.probe()).reductions
    return any(reduction.before.op != "placeholder" for reduction in reductions)


def _share_of_convolutions(recorded: Trace) -> float:
    convolutions = {m for m in recorded.root.modules() if isinstance(m, nn.modules.conv._ConvNd)}
    called = {call.module for call in recorded.calls}
    return len(convolutions & called) / len(convolutions) if convolutions else 0.0


def _detectors(model: nn.Module) -> list[str]:
    """Paths, with a trailing dot, of torchvision's detection and optical flow models in a model."""
    return [
        f"{path}." if path else ""
        for path, module in model.named_modules()
        if any(cls.__module__.startswith(_DETECTORS) for cls in type(module).__mro__)
    ]


def _feature_network(
    model: nn.Module, input_shape: tuple[int, ...], prefix: str = ""
) -> FeatureNetwork | None:
    """The backbone that the model calls, if it has a known one that can be traced."""
    paths = {path for path, _ in model.named_modules()}
    for name, within in _FEATURE_NETWORKS:
        path = f"{prefix}{name}"
        if path not in paths or (within and f"{path}.{within}" not in paths):
            continue
        part = model.get_submodule(path)
        try:
            with isolate_run():
                deep = trace(meta_copy(part))
        except ModelError:
            continue
        part_shape = _input_of(model, path, input_shape)
        if part_shape is not None:
            return FeatureNetwork(path, part, part_shape, deep, within)
    return None


class _Reached(Exception):
    """Stops the model once its feature network has received its input."""


def _input_of(model: nn.Module, path: str, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Run the model up to the module at path; return its input shape, None if it is not called."""
    seen: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor):
            seen.append(tuple(args[0].shape[1:]))
        raise _Reached

    parameters = inspect.signature(model.forward).parameters.values()
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    # Zeros, not random numbers: the caller's random state must be preserved.
    parameter = next(model.parameters())
    image = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    hook = model.get_submodule(path).register_forward_pre_hook(note)
    try:
        with hook, in_mode(model, training=False), torch.no_grad():
            model(*[image] * len(required))
    except _Reached:
        pass
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} does not accept an input of {size_text(input_shape)}: {error}"
        ) from error
    return seen[0] if seen else None
