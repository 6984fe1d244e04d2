"""Observe one run of a network: outputs, gradients, buffers, stored values, checkpoints."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from bamsearch.graph.tracing.dataflow import reachable
from bamsearch.graph.tracing.example import Example, children, tensors_in

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


def observe(network: nn.Module, example: Example, *, training: bool) -> ObservedRun:
    """Run a network once with fixed random seeds; eval mode runs without gradients.

    The network's mode, buffers and attributes change, the example's tensors do not.
    """
    args, kwargs = copy.deepcopy((example.args, example.kwargs))
    network.train(training)
    before = _attributes(network)
    with (
        # Users see the network's warnings when they run it themselves.
        warnings.catch_warnings(action="ignore"),
        preserved_random(_SEED),
        counted_checkpoints() as checkpoints,
        torch.inference_mode(False),
        torch.set_grad_enabled(training),
    ):
        output = network(*args, **kwargs)
        gradients = _gradients(network, output) if training else None
    after = _attributes(network)
    stored = {
        key: value
        for key, value in after.items()
        if key not in before or difference(before[key], value) is not None
    }
    buffers = dict(network.named_buffers())
    return ObservedRun(output, gradients, buffers, stored, checkpoints())


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """Describe the first difference of two values, such as ``[1] has other values``.

    Returns None if they are equal bit for bit.
    """
    if type(ours) is not type(theirs):
        return f"{path} is a {type(ours).__name__} and a {type(theirs).__name__}"
    if isinstance(ours, Tensor):
        return _tensor_difference(ours, theirs, path)
    items, others = children(ours), children(theirs)
    if [key for key, _ in items] != [key for key, _ in others]:
        return f"{path} holds different items"
    for (key, our_child), (_, their_child) in zip(items, others, strict=True):
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


def seed_torch(seed: int) -> None:
    """``torch.manual_seed``, which without an accelerator takes milliseconds to note its caller."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def preserved_random(seed: int | None = None) -> Iterator[None]:
    """Preserve the random states of torch, Python and NumPy in the block; seed them if asked to.

    CUDA's states are preserved only with a seed: this initialises CUDA.
    """
    python, arrays = random.getstate(), np.random.get_state()
    cuda = seed is not None and torch.cuda.is_available()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if cuda else ()):
        if seed is not None:
            seed_torch(seed)
            random.seed(seed)
            np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


@contextmanager
def counted_checkpoints() -> Iterator[Callable[[], int]]:
    """Count the calls of ``torch.utils.checkpoint`` in the block; yields a function."""
    home = torch.utils.checkpoint
    name = next(name for name in _CHECKPOINTS if hasattr(home, name))
    reentrant = home.CheckpointFunction
    with (
        mock.patch.object(reentrant, "apply", wraps=reentrant.apply) as applied,
        mock.patch.object(home, name, wraps=getattr(home, name)) as called,
    ):
        yield lambda: applied.call_count + called.call_count


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
    ends = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
    reached, exact = _leaves(ends)
    if exact:
        return frozenset(names[key] for key in reached if key in names)
    # A custom function, such as a reentrant checkpoint, may reach more parameters when it runs.
    total = sum(tensor.abs().sum() for tensor in ends)
    total.backward()  # type: ignore[union-attr]
    return frozenset(name for name, p in network.named_parameters() if p.grad is not None)


def _leaves(ends: list[Tensor]) -> tuple[set[int], bool]:
    """Ids of the leaves of the autograd graph, and whether it is free of custom functions."""
    leaves = {id(tensor) for tensor in ends if tensor.is_leaf}
    exact = True
    functions = [tensor.grad_fn for tensor in ends if tensor.grad_fn is not None]
    for function in reachable(functions, lambda f: filter(None, (n for n, _ in f.next_functions))):
        if type(function).__name__ == "AccumulateGrad":
            leaves.add(id(function.variable))  # type: ignore[attr-defined]
        custom = isinstance(function, torch.autograd.function.BackwardCFunction)
        exact = exact and (not custom or type(function).__name__ == "GradientMarkBackward")
    return leaves, exact
