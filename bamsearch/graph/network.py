"""The feature network: the part of a model that has the sites, and its trace.

Usually the whole model, traced by torch.fx or recorded (:mod:`bamsearch.graph.recorded`). Where a
detector comes to no end, the network inside that makes its feature maps does, and the detector's
own resizing decides what that network is given.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from bamsearch.errors import ModelError
from bamsearch.graph.copying import meta_copy, refuse_uncopyable
from bamsearch.graph.example import Example, example_from, example_of
from bamsearch.graph.recorded import Recording, record, undisturbed
from bamsearch.graph.roles import Outputs, Probed, probe, run
from bamsearch.graph.spine import find_spine
from bamsearch.graph.tracing import Trace, mode, trace

# (part to trace, child of it that has all sites), the innermost first: a pyramid's extra pooling
# and SSD's extra layers are no stages. SSDlite walks through its `features` without calling them.
_FEATURE_NETWORKS = (
    ("backbone.body", ""),
    ("backbone.features", ""),
    ("backbone", "features"),
    ("backbone", ""),
    ("context_encoder", ""),  # RAFT's
)
_DETECTORS = ("torchvision.models.detection", "torchvision.models.optical_flow")
# A recording that broke off after this share of the convolutions has seen every stage.
_ENOUGH = 0.9


@dataclass(frozen=True, slots=True)
class Network:
    """The part of a model that is traced and rewritten.

    Attributes:
        path: its dotted path, "" for the whole model.
        module: the part itself, not a copy.
        input_shape: what it is given when the model gets the image, without the batch.
        deep: its trace, on the meta device and in eval mode.
        within: the child that has all sites, "" for any: SSD's extra layers are no stages.
        outputs: what the nodes of deep put out for this input; None until probed.
        recording: the recording that deep is of; None for a symbolic trace.
        stopped: why the recording broke off, after nearly all convolutions, and at which line of
            the network's source: sites are true up to there; None where deep is complete.
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
        """The feature maps that sites are looked for in.

        Raises:
            ModelError: the network does not take this input.
        """
        outputs = self.outputs or run(self.deep, self.input_shape)
        probed = probe(self.deep, self.input_shape, outputs, self.recording)
        if not self.within:
            return probed

        def inside(node: fx.Node) -> bool:
            paths = [call.path for call in self.deep.owner[node].chain()]
            return node.op == "placeholder" or any(
                path == self.within or path.startswith(f"{self.within}.") for path in paths
            )

        maps = {node: shape for node, shape in probed.maps.items() if inside(node)}
        return Probed(maps, probed.tokens, probed.data)


def find_network(
    model: nn.Module, input_shape: tuple[int, ...], example_inputs: Any = None
) -> Network:
    """The part of a model that has its sites: the whole, if that can be traced or recorded.

    Args:
        model: the model.
        input_shape: one image without the batch.
        example_inputs: what to call the model with, see
            :func:`bamsearch.graph.example.example_from`; None for images alone.

    Raises:
        ModelError: the model can neither be traced nor run to its end, or does not take this input.
        InvalidValueError: example_inputs without an image of input_shape.
    """
    refuse_uncopyable(model)
    if example_inputs is not None:
        return _recorded(model, example_from(model, example_inputs, input_shape))
    known = None
    try:
        with undisturbed():
            traced = trace(meta_copy(model))
    except ModelError:
        for prefix in _detectors(model):
            known = known or _feature_network(model, input_shape, prefix)
    else:
        if sum(not node.args for node in traced.graph.find_nodes(op="placeholder")) <= 1:
            with suppress(ModelError), undisturbed():
                return Network("", model, input_shape, traced, "", run(traced, input_shape))
    return known or _recorded(model, example_of(model, input_shape))


def _recorded(model: nn.Module, example: Example) -> Network:
    """The whole as far as it can be recorded, or its known feature network where that ends early.

    Raises:
        ModelError: neither comes far enough.
    """
    shape = tuple(example.image.shape[1:])
    recording = record(model, example)
    outputs = Outputs(recording.shapes, set(recording.trace.graph.nodes))
    whole = Network("", model, shape, recording.trace, "", outputs, recording, recording.stopped)
    if recording.stopped is not None or not _has_a_spine(whole):
        with suppress(ModelError):
            known = _feature_network(model, shape)
            if known is not None:
                return known
    if recording.stopped is not None:
        several = len(example.args) + len(example.kwargs) > 1
        if several or _share_of_convolutions(recording.trace) < _ENOUGH:
            size = "x".join(map(str, shape))
            hint = ". It takes more than an image: give example_inputs" if several else ""
            raise ModelError(
                f"{type(model).__name__} does not take an input of {size}: "
                f"{recording.stopped}{hint}"
            )
    return whole


def _has_a_spine(whole: Network) -> bool:
    """False if the output is not a tensor, or if a part is called several times in parallel."""
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
    """Paths, each with its dot, of torchvision's detectors and optical flows in a model."""
    return [
        f"{path}." if path else ""
        for path, module in model.named_modules()
        if any(cls.__module__.startswith(_DETECTORS) for cls in type(module).__mro__)
    ]


def _feature_network(
    model: nn.Module, input_shape: tuple[int, ...], prefix: str = ""
) -> Network | None:
    """The known feature network that the model calls, if it has one that traces."""
    paths = {path for path, _ in model.named_modules()}
    for known, within in _FEATURE_NETWORKS:
        path = f"{prefix}{known}"
        if path not in paths or (within and f"{path}.{within}" not in paths):
            continue
        part = model.get_submodule(path)
        try:
            with undisturbed():
                deep = trace(meta_copy(part))
        except ModelError:
            continue
        given = _input_of(model, path, input_shape)
        if given is not None:
            return Network(path, part, given, deep, within)
    return None


class _Reached(Exception):
    """Stops the model once its feature network has been given its input."""


def _input_of(model: nn.Module, path: str, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Run the model up to the network at path: what shape is that given? None: never called."""
    seen: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor):
            seen.append(tuple(args[0].shape[1:]))
        raise _Reached

    required = [
        parameter
        for parameter in inspect.signature(model.forward).parameters.values()
        if parameter.default is parameter.empty
    ]
    # Zeros, not random numbers: the caller's random state is not ours to move.
    parameter = next(model.parameters())
    image = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    handle = model.get_submodule(path).register_forward_pre_hook(note)
    try:
        with mode(model, training=False), torch.no_grad():
            model(*[image] * len(required))
    except _Reached:
        pass
    except Exception as error:
        size = "x".join(map(str, input_shape))
        raise ModelError(
            f"{type(model).__name__} does not take an input of {size}: {error}"
        ) from error
    finally:
        handle.remove()
    return seen[0] if seen else None
