"""Example inputs for recording a network: its image, and any further arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import InvalidValueError

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
    """A call with a batch of images for each required argument of forward.

    Args:
        model: the network; its first floating-point parameter determines the dtype.
        input_shape: shape of one image without the batch.
    """
    floating = (p.dtype for p in model.parameters() if p.is_floating_point())
    dtype = next(floating, torch.float32)
    count = 0

    def image() -> Tensor:
        nonlocal count
        count += 1
        generator = torch.Generator().manual_seed(count)  # preserves the caller's random state
        return torch.rand(_BATCH, *input_shape, generator=generator).to(dtype)

    parameters = inspect.signature(model.forward).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    args = [image() for p in positional if p.default is p.empty]
    kwargs = {
        p.name: image() for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    }
    if not args and not kwargs:
        args = [image()]
    return Example(tuple(args), kwargs, args[0] if args else next(iter(kwargs.values())))


def example_from(model: nn.Module, inputs: Any, input_shape: Sequence[int]) -> Example:
    """The call described by a user's example inputs.

    Args:
        model: the network.
        inputs: a tensor, a tuple or list of arguments, or a dict: keyword arguments if all its
            keys are arguments of forward, else the only argument.
        input_shape: shape of one image in inputs, without the batch.

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
        actual, expected = ("x".join(map(str, s)) for s in (images[0].shape[1:], input_shape))
        raise InvalidValueError(
            f"example_inputs hold an image of {actual}, but input_shape is {expected}: "
            "make them equal"
        )
    return Example(args, kwargs, images[0])


def tensors_in(value: Any, depth: int = _DEPTH) -> Iterator[Tensor]:
    """Every tensor in value, also inside lists, dicts and plain objects."""
    if isinstance(value, Tensor):
        yield value
    elif depth:
        # Plain objects may refer to each other without end.
        remaining = depth - 1 if isinstance(value, Mapping | tuple | list) else depth // 3
        for item in _contents(value):
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


def _contents(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, tuple | list | set | frozenset):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    plain = not isinstance(value, nn.Module | type) and not callable(value)
    return list(vars(value).values()) if plain and hasattr(value, "__dict__") else []


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
