"""A network as a function of one named tensor: what both formats can hold, and what they cannot."""

from __future__ import annotations

import inspect
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError, InvalidValueError


def input_name(shape: tuple[int, ...]) -> str:
    """What the input is called in the file."""
    return "image" if len(shape) == 3 else "clip"


def with_one_input(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network itself in eval mode, with one argument that has the input's name in the file.

    Raises:
        ExportError: the network is no function of one tensor.
        InvalidValueError: its weights are not float32.
    """
    _refuse_other_inputs(network)
    _refuse_other_dtypes(network)
    network.eval().requires_grad_(False)
    # after eval(), which may give a network with BAM another graph
    inner = type(network).forward

    # On the instance rather than in a wrapper, which would prefix every key of the state_dict.
    def image_forward(self: nn.Module, image: Tensor) -> Any:
        return inner(self, image)

    def clip_forward(self: nn.Module, clip: Tensor) -> Any:
        return inner(self, clip)

    forward = image_forward if input_name(shape) == "image" else clip_forward
    network.forward = MethodType(forward, network)  # type: ignore[assignment,method-assign,unused-ignore]
    return network


def _refuse_other_inputs(network: nn.Module) -> None:
    """Raise ExportError for networks that are no function of one tensor.

    Detectors take lists of images, resize them, and return as many boxes as they find: there is no
    graph of that. Optical flow takes two images.
    """
    kind = type(network).__name__
    parameters = inspect.signature(network.forward).parameters
    # parts of a detector, such as its feature network, take no targets
    if ".models.detection." in type(network).__module__ and "targets" in parameters:
        raise ExportError(
            f"{kind} is a detector: it returns as many boxes as it finds, which is no fixed graph; "
            "its feature network can be exported from Python: "
            "bamsearch.export_network(bamsearch.load(DESIGN).backbone, PATH, input_shape=(3, H, W))"
        )
    required = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) != 1:
        raise ExportError(
            f"{kind} takes {len(required)} inputs ({', '.join(required)}), and export is for "
            "networks of one image or clip: export the part of it that takes one"
        )


def _refuse_other_dtypes(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InvalidValueError(f"export is for float32, and {name} is {kind}: call .float()")
