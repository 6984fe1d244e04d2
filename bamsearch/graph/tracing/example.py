"""Example inputs for recording a network: its image, and any further arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import InvalidValueError
from bamsearch.text import size_text

_BATCH = 2
_DEPTH = 6  # of containers in containers


@dataclass(frozen=True, slots=True)
class Example:
    """The arguments of one call.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        image: the first floating tensor of 4 or 5 axes in them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    image: Tensor

    def at(self, shape: Sequence[int], device: str) -> Example:
        """The same call with an image of another shape.

        Tensors that share the image's batch, or its height and width, change with it.

        Args:
            shape: the image's shape with the batch.
            device: ``meta`` for shapes alone; on other devices, tensors of unchanged shape keep
                their values and others are drawn from [0, 1).
        """
        before = tuple(self.image.shape)
        changed: dict[int, Tensor] = {}

        def change(tensor: Tensor) -> Tensor:
            if id(tensor) not in changed:
                target = _moved(tuple(tensor.shape), before, tuple(shape))
                changed[id(tensor)] = _filled(tensor, target, device)
            return changed[id(tensor)]

        args, kwargs = map_tensors(self.args, change), map_tensors(self.kwargs, change)
        return Example(args, kwargs, change(self.image))


def example_of(model: nn.Module, input_shape: Sequence[int]) -> Example:
    """A call with a batch of images for each required argument of forward."""
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(floating, torch.float32)
    seeds = count(1)

    def image() -> Tensor:
        generator = torch.Generator().manual_seed(next(seeds))  # preserves the caller's state
        return torch.rand(_BATCH, *input_shape, generator=generator).to(dtype)

    parameters = inspect.signature(model.forward).parameters.values()
    required = [p for p in parameters if p.default is p.empty]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    args = tuple(image() for p in required if p.kind in positional)
    kwargs = {p.name: image() for p in required if p.kind is p.KEYWORD_ONLY}
    if not args and not kwargs:
        args = (image(),)
    return Example(args, kwargs, next(iter((*args, *kwargs.values()))))


def example_from(model: nn.Module, inputs: Any, input_shape: Sequence[int]) -> Example:
    """The call described by a user's example inputs.

    Raises:
        InvalidValueError: inputs contain no image, or an image of another shape.
    """
    args: tuple[Any, ...] = (inputs,)
    kwargs: dict[str, Any] = {}
    if isinstance(inputs, tuple | list):
        args = tuple(inputs)
    elif isinstance(inputs, Mapping) and set(inputs) <= set(
        inspect.signature(model.forward).parameters
    ):
        args, kwargs = (), dict(inputs)
    images = [
        tensor
        for tensor in tensors_in((args, kwargs))
        if tensor.is_floating_point() and tensor.dim() in (4, 5)
    ]
    if not images:
        raise InvalidValueError("example_inputs hold no image: a float tensor of 4 or 5 axes")
    if tuple(images[0].shape[1:]) != tuple(input_shape):
        raise InvalidValueError(
            f"example_inputs hold an image of {size_text(images[0].shape[1:])}, but input_shape is "
            f"{size_text(input_shape)}: make them equal"
        )
    return Example(args, kwargs, images[0])


def tensors_in(value: Any, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Every tensor in value, also inside lists, dicts and plain objects."""
    if isinstance(value, Tensor):
        yield value
    elif depth:
        # Plain objects may refer to each other without end.
        remaining = depth - 1 if isinstance(value, Mapping | tuple | list) else depth // 3
        is_set = isinstance(value, set | frozenset)
        for item in value if is_set else (item for _, item in children(value)):
            yield from tensors_in(item, remaining)


def map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Apply change to every tensor in value's tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)([map_tensors(item, change) for item in value])
    if isinstance(value, dict):
        changed = {key: map_tensors(item, change) for key, item in value.items()}
        return changed if type(value) is dict else type(value)(changed)
    return value


def children(value: Any) -> list[tuple[Any, Any]]:
    """Keys and items of a container, fields of a dataclass, or attributes of a plain object."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    if type(value).__module__ in ("builtins", "torch") or callable(value):
        return []
    return list(getattr(value, "__dict__", {}).items())


def _moved(
    shape: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int, ...]:
    """The new shape of a tensor that accompanies an image resized from before to after."""
    moved = list(shape)
    if shape == before:
        return after
    if moved and moved[0] == before[0]:
        moved[0] = after[0]
    if len(moved) >= 3 and tuple(moved[-2:]) == before[-2:]:
        moved[-2:] = after[-2:]
    return tuple(moved)


def _filled(tensor: Tensor, shape: tuple[int, ...], device: str) -> Tensor:
    if device == "meta":
        return torch.empty(shape, dtype=tensor.dtype, device="meta")
    if shape == tuple(tensor.shape):
        return tensor.detach().to(device, copy=True)
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(shape, generator=generator)
    return values.to(device, tensor.dtype)
