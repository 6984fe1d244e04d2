"""Prepare a network as a function of a single named tensor, as both formats require."""

from __future__ import annotations

import inspect
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError, InvalidValueError


def input_name(shape: tuple[int, ...]) -> str:
    """Name of the input in the file."""
    return "image" if len(shape) == 3 else "clip"


def with_one_input(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Set eval mode, and replace forward by a function with one argument, named as in the file.

    Returns:
        The same network.

    Raises:
        ExportError: the network is not a function of a single tensor.
        InvalidValueError: its weights are not float32.
    """
    _refuse_other_inputs(network)
    _refuse_other_dtypes(network)
    network.eval().requires_grad_(False)
    # after eval(), which may switch the graph of a network with BAM
    inner = type(network).forward

    # Set on the instance: a wrapper would prefix every key of the state_dict.
    def image_forward(self: nn.Module, image: Tensor) -> Any:
        return inner(self, image)

    def clip_forward(self: nn.Module, clip: Tensor) -> Any:
        return inner(self, clip)

    forward = image_forward if input_name(shape) == "image" else clip_forward
    network.forward = MethodType(forward, network)  # type: ignore[assignment,method-assign,unused-ignore]
    return network


def _refuse_other_inputs(network: nn.Module) -> None:
    """Raise ExportError for networks that are not a function of a single tensor.

    Detectors take lists of images, resize them, and return a varying number of boxes, which has no
    static graph. Optical flow takes two images.
    """
    kind = type(network).__name__
    parameters = inspect.signature(network.forward).parameters
    # parts of a detector, such as its backbone, have no targets argument
    if ".models.detection." in type(network).__module__ and "targets" in parameters:
        raise ExportError(
            f"{kind} is a detector: the number of boxes depends on the image, so there is no "
            "static graph; its backbone can be exported from Python: "
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
            f"{kind} takes {len(required)} inputs ({', '.join(required)}), but export supports "
            "only a single image or clip: export the part that takes one"
        )


def _refuse_other_dtypes(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InvalidValueError(
                f"export supports only float32, but {name} is {kind}: call .float()"
            )
