"""The feature network: the part of a model that torch.fx can follow and that holds the sites.

Usually the whole model. A detector cannot be traced; the network inside that makes its feature
maps can, and the detector's own resizing decides what that network is given.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from bamsearch.errors import ModelError
from bamsearch.graph.copying import meta_copy, refuse_uncopyable
from bamsearch.graph.roles import Probed, probe
from bamsearch.graph.tracing import Trace, mode, trace

# (part to trace, child of it that has all sites), the innermost first: a pyramid's extra pooling
# and SSD's extra layers are no stages. SSDlite walks through its `features` without calling them.
_FEATURE_NETWORKS = (
    ("backbone.body", ""),
    ("backbone.features", ""),
    ("backbone", "features"),
    ("backbone", ""),
)


@dataclass(frozen=True, slots=True)
class Network:
    """The part of a model that is traced and rewritten.

    Attributes:
        path: its dotted path, "" for the whole model.
        module: the part itself, not a copy.
        input_shape: what it is given when the model gets the image, without the batch.
        deep: its trace, on the meta device and in eval mode.
        within: the child that has all sites, "" for any: SSD's extra layers are no stages.
    """

    path: str
    module: nn.Module
    input_shape: tuple[int, ...]
    deep: Trace
    within: str = ""

    def probe(self) -> Probed:
        """The feature maps that sites are looked for in.

        Raises:
            ModelError: the network does not take this input.
        """
        probed = probe(self.deep, self.input_shape)
        if not self.within:
            return probed

        def inside(node: fx.Node) -> bool:
            paths = [call.path for call in self.deep.owner[node].chain()]
            return node.op == "placeholder" or any(
                path == self.within or path.startswith(f"{self.within}.") for path in paths
            )

        maps = {node: shape for node, shape in probed.maps.items() if inside(node)}
        return Probed(maps, probed.tokens)


def find_network(model: nn.Module, input_shape: tuple[int, ...]) -> Network:
    """The largest part of the model that traces, the whole if it does.

    Raises:
        ModelError: no part with convolutions traces, or the model does not take this input.
    """
    refuse_uncopyable(model)
    try:
        return Network("", model, input_shape, trace(meta_copy(model)))
    except ModelError:
        for path, within in _candidates(model):
            part = model.get_submodule(path)
            try:
                deep = trace(meta_copy(part))
            except ModelError:
                continue
            given = _input_of(model, path, input_shape)
            if given is not None:
                return Network(path, part, given, deep, within)
        raise


def _candidates(model: nn.Module) -> list[tuple[str, str]]:
    """(part, child with the sites) to try, known feature networks first, then by size."""
    paths = {path for path, _ in model.named_modules()}
    known = [
        (part, within)
        for part, within in _FEATURE_NETWORKS
        if part in paths and (not within or f"{part}.{within}" in paths)
    ]
    children = sorted(
        model.named_children(), key=lambda child: -sum(p.numel() for p in child[1].parameters())
    )
    return known + [(name, "") for name, child in children if _is_image_net(child)]


def _is_image_net(module: nn.Module) -> bool:
    """Takes one input and convolves it."""
    required = [
        parameter
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    return len(required) == 1 and convolves


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
