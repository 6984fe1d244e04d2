"""Record every operation of one run of a network's forward.

This gives a :class:`Trace` of networks that torch.fx cannot trace. Nothing is symbolic: Python
evaluates size checks, ``isinstance``, loops and lists as usual. A copy runs on the meta device, or
on real tensors if the control flow depends on values.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from bamsearch.graph.tracing.example import Example, tensors_in
from bamsearch.graph.tracing.tracer import Journal, ModuleCall, Trace

Shape = tuple[int, ...]


class Recorder(TorchFunctionMode):
    """Records all operations that run in its context as a graph.

    Nodes are calls of torch layers, and of torch functions outside these layers. Edges follow the
    identity of tensors; sizes create no edges.

    Args:
        root: a copy of the network, which gets hooks during recording.

    Attributes:
        shapes: shape of each node's output, if it is a tensor.
    """

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.shapes: dict[fx.Node, Shape] = {}
        self._root = root
        self._graph = fx.Graph()
        self._journal = Journal()
        self._paths = {module: path for path, module in root.named_modules()}
        self._nodes: dict[int, fx.Node] = {}  # by id of the tensor
        self._held: list[Tensor] = []  # keeps tensors alive, so that ids are not reused
        self._busy = False  # inside an operation that is a single node
        self._running: list[tuple[ModuleCall, list[tuple[Tensor, int]]]] = []

    def record(self, example: Example) -> tuple[Trace, Exception | None]:
        """Run the root once.

        Returns:
            The trace, and the error that stopped the run, if any.
        """
        self._journal.enter("", self._root)
        inputs = [example.image, *tensors_in((example.args, example.kwargs))]
        for tensor in {id(tensor): tensor for tensor in inputs}.values():
            self._hold(self._node("placeholder", _argument(self._root, example, tensor)), tensor)
        failure: Exception | None = None
        try:
            with self._hooked(), self, _Uncaught(self):
                result = self._root(*example.args, **example.kwargs)
        except Exception as error:
            failure = error
        else:
            self._node("output", "output", (self._sources(result),))
        return self._journal.trace(self._root, self._graph), failure

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
        node = self._graph.create_node(op, target, args, kwargs)
        self._journal.note(node)
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
        handles: list[RemovableHandle] = []
        for module in self._paths:
            before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
            after = module.register_forward_hook(self._leave, with_kwargs=True, always_call=True)
            handles += [before, after]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._busy or module is self._root:
            return
        leaf = is_leaf(module)
        with torch._C.DisableTorchFunction():
            call = self._journal.enter(self._paths[module], module)
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
        self._journal.current = call
        self._busy = True
        with torch._C.DisableTorchFunction():
            if leaf:
                result = self._record_node("call_module", call.path, inputs, (args, kwargs), result)
            output = self._sources([result]) if isinstance(result, Tensor) else ()
            self._journal.leave(call, output[0] if output else None)
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
