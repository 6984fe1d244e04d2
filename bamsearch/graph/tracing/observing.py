"""Observe one run of a network: outputs, gradients, buffers, stored values, checkpoints."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

_SEED = 0
# Implementations of torch.utils.checkpoint.checkpoint; the last name is from older torch.
_CHECKPOINTS = (
    "_checkpoint_without_reentrant_generator_impl",
    "_checkpoint_without_reentrant_generator",
)
_MACHINERY = frozenset(vars(nn.Module())) | {"training"}


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """Observations of one run of a network.

    Attributes:
        output: return value of forward.
        gradients: names of the parameters that get a gradient; None in eval mode.
        buffers: buffers after the run, by path.
        stored: attributes that the run changed, by path of the module and name.
        checkpoints: number of calls of ``torch.utils.checkpoint``.
    """

    output: Any
    gradients: frozenset[str] | None
    buffers: dict[str, Tensor]
    stored: dict[tuple[str, str], Any]
    checkpoints: int


def observe(
    network: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]], *, training: bool
) -> ObservedRun:
    """Run a network once with fixed random seeds.

    Args:
        network: the network; its mode, buffers and attributes change.
        inputs: positional and keyword arguments; not modified.
        training: run in train mode; eval mode runs without gradients.
    """
    args, kwargs = copy.deepcopy(inputs)
    network.train(training)
    before = _attributes(network)
    with ExitStack() as around:
        # Users see the network's warnings when they run it themselves.
        around.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        around.enter_context(fixed_seeds())
        checkpoints = around.enter_context(counted_checkpoints())
        around.enter_context(torch.inference_mode(False))
        around.enter_context(torch.set_grad_enabled(training))
        output = network(*args, **kwargs)
        gradients = _gradients(network, output) if training else None
    after = _attributes(network)
    stored = {
        key: value
        for key, value in after.items()
        if key not in before or difference(before[key], value) is not None
    }
    buffers = dict(network.named_buffers())
    return ObservedRun(output, gradients, buffers, stored, len(checkpoints))


def output_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an output: in containers, dataclasses and plain objects."""
    if isinstance(value, Tensor):
        yield value
        return
    for _, part in _children(value):
        yield from output_tensors(part)


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """Describe the first difference of two values, such as ``[1] has other values``.

    Returns None if they are equal bit for bit.
    """
    if type(ours) is not type(theirs):
        return f"{path} is a {type(ours).__name__} and a {type(theirs).__name__}"
    if isinstance(ours, Tensor):
        return _tensor_difference(ours, theirs, path)
    children, others = _children(ours), _children(theirs)
    if [key for key, _ in children] != [key for key, _ in others]:
        return f"{path} holds different items"
    for (key, our_child), (_, their_child) in zip(children, others, strict=True):
        child_difference = difference(our_child, their_child, f"{path}[{key!r}]")
        if child_difference is not None:
            return child_difference
    plain = isinstance(ours, bool | int | float | complex | str | bytes | None)
    if plain and ours != theirs and not (ours != ours and theirs != theirs):
        return f"{path} is {ours!r} and {theirs!r}"
    return None


def _tensor_difference(ours: Tensor, theirs: Tensor, path: str) -> str | None:
    if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
        return f"{path} has another shape or dtype"
    if ours.is_meta or theirs.is_meta or ours.is_quantized:
        return None
    ours, theirs = ours.detach(), theirs.detach()
    if torch.equal(ours, theirs):
        return None
    both_nan = ours.isnan() & theirs.isnan()
    return None if bool(((ours == theirs) | both_nan).all()) else f"{path} has other values"


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if type(value).__module__ in ("builtins", "torch") or callable(value):
        return []
    return list(getattr(value, "__dict__", {}).items())


@contextmanager
def fixed_seeds() -> Iterator[None]:
    """Seed torch, random and numpy, and restore the caller's random state afterwards."""
    numpy = sys.modules.get("numpy")
    states = random.getstate(), None if numpy is None else numpy.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_SEED)
        random.seed(_SEED)
        if numpy is not None:
            numpy.random.seed(_SEED)
        try:
            yield
        finally:
            random.setstate(states[0])
            if numpy is not None:
                numpy.random.set_state(states[1])


@contextmanager
def counted_checkpoints() -> Iterator[list[None]]:
    """Count the calls of ``torch.utils.checkpoint`` in the block, as a list with one item each."""
    calls: list[None] = []
    home = torch.utils.checkpoint
    reentrant = home.CheckpointFunction

    class Counted(reentrant):  # type: ignore[misc,valid-type]
        @classmethod
        def apply(cls, *args: Any) -> Any:
            calls.append(None)
            return reentrant.apply(*args)

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(None)
            return original(*args, **kwargs)

        return call

    name = next(name for name in _CHECKPOINTS if hasattr(home, name))
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(home, "CheckpointFunction", Counted))
        patches.enter_context(mock.patch.object(home, name, counting(getattr(home, name))))
        yield calls


def _attributes(network: nn.Module) -> dict[tuple[str, str], Any]:
    """The plain attributes of all modules; containers are copied, tensors are not."""
    return {
        (path, name): _copy_containers(value)
        for path, module in network.named_modules()
        if not isinstance(module, nn.parallel.DistributedDataParallel)  # lists all buffers
        for name, value in vars(module).items()
        if name not in _MACHINERY and isinstance(value, _COMPARED)
    }


_COMPARED = (Tensor, bool, int, float, complex, str, list, tuple, dict, type(None))


def _copy_containers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy_containers(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copy_containers(item) for item in value)
    return value


def _gradients(network: nn.Module, output: Any) -> frozenset[str]:
    """Names of the parameters that the output's sum has a gradient for."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    ends = [tensor for tensor in output_tensors(output) if tensor.requires_grad]
    reached, exact = _walk(ends)
    if exact:
        return frozenset(names[key] for key in reached if key in names)
    # A custom function, such as a reentrant checkpoint, may reach more parameters when it runs.
    total = sum(tensor.abs().sum() for tensor in ends)
    total.backward()  # type: ignore[union-attr]
    return frozenset(name for name, p in network.named_parameters() if p.grad is not None)


def _walk(ends: list[Tensor]) -> tuple[set[int], bool]:
    """Ids of the leaves of the autograd graph, and whether it is free of custom functions."""
    leaves = {id(tensor) for tensor in ends if tensor.is_leaf}
    waiting = [tensor.grad_fn for tensor in ends if tensor.grad_fn is not None]
    seen = set(waiting)
    exact = True
    while waiting:
        node = waiting.pop()
        if type(node).__name__ == "AccumulateGrad":
            leaves.add(id(node.variable))  # type: ignore[attr-defined]
        custom = isinstance(node, torch.autograd.function.BackwardCFunction)
        exact = exact and (not custom or type(node).__name__ == "GradientMarkBackward")
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return leaves, exact
