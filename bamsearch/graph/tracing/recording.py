"""Record every operation of one run of a network's forward.

This gives a :class:`Trace` of networks that torch.fx cannot trace. Nothing is symbolic: Python
evaluates size checks, ``isinstance``, loops and lists as usual. A copy runs on the meta device,
with fake tensors, or on real tensors if the control flow depends on values.
"""

from __future__ import annotations

import inspect
import io
import linecache
import logging
import operator
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bamsearch.errors import first_line
from bamsearch.graph.tracing.copying import meta_copy
from bamsearch.graph.tracing.example import Example, tensors_in
from bamsearch.graph.tracing.observing import preserved_random
from bamsearch.graph.tracing.tracer import ModuleCall, Trace

Shape = tuple[int, ...]

# Limits of a real run: total elements of all maps, and of all weights.
_REAL_MAPS = 2**29
_REAL_WEIGHTS = 2**29


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded run of a network, and the settings to repeat it.

    Attributes:
        trace: its trace.
        shapes: shape of each node's output.
        stopped: error and source line where the run stopped; None if it completed.
        network: the copy that ran.
        example: arguments of the call.
        device: ``meta``, or ``cpu`` for real tensors.
        fake: whether it ran with fake tensors.
        default: whether device was the default device during the run.
    """

    trace: Trace
    shapes: dict[fx.Node, Shape]
    stopped: str | None
    network: nn.Module
    example: Example
    device: str
    fake: bool
    default: bool

    def again(self, shape: Shape) -> dict[fx.Node, Shape]:
        """Shapes for another image size, up to where the run stops."""
        if shape == tuple(self.example.image.shape):
            return self.shapes
        other = _run(self.network, self.example, shape, self.device, self.fake, self.default)
        named = {other.trace.operation[node]: size for node, size in other.shapes.items()}
        operation = self.trace.operation
        return {node: named[operation[node]] for node in self.shapes if operation[node] in named}


def record(model: nn.Module, example: Example) -> Recording:
    """Record a network with the cheapest method that completes."""
    shape = tuple(example.image.shape)
    meta = meta_copy(model)
    attempts = []
    for fake, default in ((False, True), (False, False), (True, False)):
        attempt = _run(meta, example, shape, "meta", fake, default)
        if attempt.stopped is None:
            return attempt
        attempts.append(attempt)
    longest = max(attempts, key=lambda attempt: len(attempt.shapes))
    maps = sum(torch.Size(size).numel() for size in longest.shapes.values())
    weights = sum(parameter.numel() for parameter in model.parameters())
    if maps > _REAL_MAPS or weights > _REAL_WEIGHTS:
        return longest
    attempt = _run(_real_copy(model), example, shape, "cpu", False, False)
    if attempt.stopped is None or len(attempt.shapes) >= len(longest.shapes):
        return attempt
    return longest


def _run(
    network: nn.Module, example: Example, shape: Shape, device: str, fake: bool, default: bool
) -> Recording:
    recorder = Recorder(network)
    on_device = torch.device(device) if default else nullcontext()
    fakes = FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext()
    with isolate_run(), torch.no_grad(), on_device, fakes:
        failure = recorder.record(example.at(shape, device))
    stopped = None if failure is None else _failure_text(failure)
    return Recording(
        recorder.trace, recorder.shapes, stopped, network, example, device, fake, default
    )


def _real_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU with the model's values, in eval mode."""
    real = meta_copy(model).to_empty(device="cpu")
    values = dict([*model.named_parameters(), *model.named_buffers()])
    with torch.no_grad():
        for name, tensor in [*real.named_parameters(), *real.named_buffers()]:
            # A meta model has no values: zeros, because uninitialised memory may not be finite.
            tensor.zero_() if values[name].is_meta else tensor.copy_(values[name])
    return real


@contextmanager
def isolate_run() -> Iterator[None]:
    """Preserve the random states, and suppress prints, logs and warnings."""
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # fake tensors log every failure
    try:
        with (
            preserved_random(),
            redirect_stdout(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(quiet)


def _failure_text(error: Exception) -> str:
    """The error, and the line of the network's source where it was raised."""
    torch_home = os.path.dirname(torch.__file__) + os.sep
    bamsearch_home = str(Path(__file__).parents[2]) + os.sep
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((torch_home, bamsearch_home, "<"))
    ]
    if not lines:
        return first_line(error)
    file, line = lines[-1]
    source = linecache.getline(file, line).strip()
    return f"{first_line(error)} at {os.path.basename(file)}:{line}: {source}"


class Recorder(TorchFunctionMode):
    """Records all operations that run in its context as a graph.

    Nodes are calls of torch layers, and of torch functions outside these layers. Edges follow the
    identity of tensors; sizes create no edges.

    Args:
        root: a copy of the network, which gets hooks during recording.

    Attributes:
        trace: the trace.
        shapes: shape of each node's output, if it is a tensor.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.trace = Trace(root, fx.Graph())
        self.shapes: dict[fx.Node, Shape] = {}
        self._paths = {module: path for path, module in root.named_modules()}
        self._nodes: dict[int, fx.Node] = {}  # by id of the tensor
        self._held: list[Tensor] = []  # keeps tensors alive, so that ids are not reused
        self._busy = False  # inside an operation that is a single node
        self._running: list[tuple[ModuleCall, list[tuple[Tensor, int]]]] = []

    def record(self, example: Example) -> Exception | None:
        """Run the root once; return the error that stopped the run, if any."""
        root = self.trace.root
        inputs = [example.image, *tensors_in((example.args, example.kwargs))]
        for tensor in {id(tensor): tensor for tensor in inputs}.values():
            self._hold(self._node("placeholder", _argument(root, example, tensor)), tensor)
        try:
            with self._hooked(), self, _Uncaught(self):
                result = root(*example.args, **example.kwargs)
        except Exception as error:
            return error
        self._node("output", "output", (self._sources(result),))
        return None

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run and record a torch function."""
        return self.run(func, args, kwargs or {})

    def run(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Run and record any function on tensors."""
        if self._busy:
            return func(*args, **kwargs)
        inputs = _watched((args, kwargs))
        self._busy = True
        try:
            result = func(*args, **kwargs)
            return self._record_node(*_operation(func), inputs, (args, kwargs), result)
        finally:
            self._busy = False

    def _record_node(
        self,
        op: str,
        target: Any,
        inputs: list[tuple[Tensor, int]],
        arguments: tuple[Any, dict[str, Any]],
        result: Any,
    ) -> Any:
        """Create the node of an operation that has run, and return its result.

        If the result is an unchanged input (dropout in eval mode, Identity), return a view of it.
        """
        changed = [tensor for tensor, version in inputs if _version(tensor) != version]
        outputs = list(tensors_in(result))
        from_input = any(id(tensor) in self._nodes for tensor, _ in inputs)
        if not from_input or not (outputs or changed):
            return result  # a size, a type, a constant
        args, kwargs = (_plain(value, self._nodes) for value in arguments)
        node = self._node(op, target, tuple(args), kwargs)
        if isinstance(result, Tensor):
            same = any(result is tensor for tensor, _ in inputs)
            if same and not any(result is tensor for tensor in changed):
                result = result.view_as(result)
            self._hold(node, result)
        else:
            for index, tensor in enumerate(outputs):
                self._hold(self._node("call_function", operator.getitem, (node, index)), tensor)
        for tensor in changed:
            if not any(tensor is other for other in outputs):
                self._hold(node, tensor)
            whole = tensor._base
            if whole is not None:  # modified through a view
                args = (self._nodes.get(id(whole)), node)
                self._hold(self._node("call_function", operator.setitem, args), whole)
        return result

    def _node(self, op: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        node = self.trace.graph.create_node(op, target, args, kwargs)
        self.trace.note(node)
        return node

    def _hold(self, node: fx.Node, tensor: Tensor) -> None:
        """Register tensor as the output of node."""
        self.shapes[node] = tuple(tensor.shape)
        self._nodes[id(tensor)] = node
        self._held.append(tensor)

    def _sources(self, value: Any) -> tuple[fx.Node, ...]:
        return tuple(self._nodes[id(t)] for t in tensors_in(value) if id(t) in self._nodes)

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in self._paths:
                before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
                after = module.register_forward_hook(
                    self._leave, with_kwargs=True, always_call=True
                )
                stack.enter_context(before)
                stack.enter_context(after)
            yield

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._busy or module is self.trace.root:
            return
        leaf = is_leaf(module)
        with torch._C.DisableTorchFunction():
            call = self.trace.enter(self._paths[module], module)
            tops = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            sources = self._sources(tops or (args, kwargs))
            # A tensor in a list is the entry only if it is the only one.
            if tops or len(sources) == 1:
                call.entry = next(iter(sources), None)
            self._running.append((call, _watched((args, kwargs)) if leaf else []))
        self._busy = leaf

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
        """End a call, and calls inside it that an exception has ended."""
        leaf = is_leaf(module)
        if (self._busy and not leaf) or not any(c.module is module for c, _ in self._running):
            return result
        call, inputs = self._running.pop()
        while call.module is not module:
            call, inputs = self._running.pop()
        self.trace.current = call
        self._busy = True
        with torch._C.DisableTorchFunction():
            if leaf:
                result = self._record_node("call_module", call.path, inputs, (args, kwargs), result)
            output = self._sources([result]) if isinstance(result, Tensor) else ()
            self.trace.leave(call, output[0] if output else None)
        self._busy = False
        return result


class _Uncaught(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations that bypass torch functions: scripted functions and C++ operators."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunction():
            return self._recorder.run(func, args, kwargs or {})


def is_leaf(module: nn.Module) -> bool:
    """Whether a call of module is a single operation: torch layers and scripted modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    home = type(module).__module__
    wrapper = home.startswith("torch.nn.parallel") or isinstance(module, nn.Sequential)
    return home.startswith(("torch.nn", "torch.ao.nn")) and not wrapper


def _operation(func: Any) -> tuple[str, Any]:
    """(op, target) of a function's node, named as in torch.fx."""
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        return "call_function", getattr  # x.T
    if isinstance(func, torch._ops.OpOverload):
        return "call_method", func._schema.name.rpartition("::")[2]
    if name.startswith("__") and name.endswith("__"):
        bare = name.strip("_")
        for candidate in (bare, bare[1:]):  # __radd__, __iadd__
            if hasattr(operator, candidate):
                return "call_function", getattr(operator, candidate)
    if getattr(torch.Tensor, name, None) is func:
        return "call_method", name
    return "call_function", func if hasattr(func, "__name__") else type(func)


def _argument(root: nn.Module, example: Example, tensor: Tensor) -> str:
    """Name of the argument that contains tensor."""
    names = [*inspect.signature(root.forward).parameters, *["args"] * len(example.args)]
    pairs = [*zip(names, example.args, strict=False), *example.kwargs.items()]
    holds = (name for name, value in pairs if any(tensor is t for t in tensors_in(value)))
    return next(holds, "input")


def _watched(value: Any) -> list[tuple[Tensor, int]]:
    """The tensors in value with their versions, which in-place operations change."""
    return [(tensor, _version(tensor)) for tensor in tensors_in(value)]


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _plain(value: Any, nodes: dict[int, fx.Node]) -> Any:
    """Convert value to node arguments: tensors to nodes, other objects than numbers to None."""
    if isinstance(value, Tensor):
        return nodes.get(id(value))
    if isinstance(value, tuple | list):
        return [_plain(item, nodes) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, nodes) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    sources = [nodes[id(t)] for t in tensors_in(value) if id(t) in nodes]
    return sources or None
