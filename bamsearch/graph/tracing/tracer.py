"""Symbolic tracing that records which module call created each node.

One tracer makes both traces: the deep one, through all modules but torch's layers, for finding
sites; the coarse one, with all modules without a site as leaves, for rewriting. Networks that
cannot be traced are recorded instead (:mod:`bamsearch.graph.tracing.recording`), with the same
names.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from bamsearch.errors import ModelError, first_line

_WEIGHTED = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
_WEIGHTED_FUNCTIONS = frozenset({F.conv2d, F.conv3d, F.linear, F.scaled_dot_product_attention})


@dataclass(eq=False, slots=True)
class ModuleCall:
    """One call of a module while tracing.

    Attributes:
        path: dotted path of the module; "" is the root.
        number: ordinal of the call among the module's calls, from 1.
        module: the module itself.
        parent: the enclosing call; None for the root.
        entry: the first node among the arguments, if any.
        output: the node that it returned; None unless it returned a single value.
    """

    path: str
    number: int
    module: nn.Module
    parent: ModuleCall | None
    entry: fx.Node | None = None
    output: fx.Node | None = None

    @property
    def name(self) -> str:
        """The path, with ``@2`` for the second call and so on."""
        return self.path if self.number == 1 else f"{self.path}@{self.number}"

    def chain(self) -> Iterator[ModuleCall]:
        """This call and its enclosing calls, innermost first."""
        call: ModuleCall | None = self
        while call is not None:
            yield call
            call = call.parent


class Trace:
    """A graph with the module calls that created it; filled while the graph is created.

    Args:
        root: the module that is traced.
        graph: its graph.

    Attributes:
        calls: module calls in the order in which they returned, without the root's.
        owner: the innermost call that created each node.
        operation: dotted path of each node's operation: its module's path, then the operation.
        current: the innermost running call.
    """

    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        self.root = root
        self.graph = graph
        self.calls: list[ModuleCall] = []
        self.owner: dict[fx.Node, ModuleCall] = {}
        self.operation: dict[fx.Node, str] = {}
        self.current: ModuleCall | None = ModuleCall("", 1, root, None)
        self._operations: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()

    def enter(self, path: str, module: nn.Module) -> ModuleCall:
        """Start a call of the module at path."""
        self._calls[path] += 1
        self.current = ModuleCall(path, self._calls[path], module, self.current)
        return self.current

    def leave(self, call: ModuleCall, output: fx.Node | None) -> None:
        """End a call."""
        self.current = call.parent
        call.output = output
        self.calls.append(call)

    def note(self, node: fx.Node) -> None:
        """Record the call that a node belongs to, and the name of its operation."""
        if self.current is None:
            return
        self.owner[node] = self.current
        path = self.current.path
        if node.op != "call_module":
            path = f"{path}.{target_name(node)}" if path else target_name(node)
        self._operations[path] += 1
        count = self._operations[path]
        self.operation[node] = path if count == 1 else f"{path}_{count - 1}"

    def site_names(self) -> dict[fx.Node, str]:
        """Map each node to the name of the outermost module whose output it is."""
        names = dict(self.operation)
        # Calls return innermost first, so the outermost name is written last.
        for call in self.calls:
            if call.output is not None and call in self.owner[call.output].chain():
                names[call.output] = call.name
        return names

    def layer(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls; None for other operations."""
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    @cached_property
    def weighted(self) -> frozenset[fx.Node]:
        """Convolution, linear and attention nodes; norms do not count."""
        return frozenset(
            node
            for node in self.graph.nodes
            if node.target in _WEIGHTED_FUNCTIONS or isinstance(self.layer(node), _WEIGHTED)
        )

    @cached_property
    def weighted_calls(self) -> frozenset[ModuleCall]:
        """Module calls with a weighted node inside."""
        return frozenset(call for node in self.weighted for call in self.owner[node].chain())


def target_name(node: fx.Node) -> str:
    """Name of the function, method or module that a node calls."""
    return node.target if isinstance(node.target, str) else node.target.__name__


class SiteTracer(fx.Tracer):
    """Tracer that keeps buffers and container types, and records module calls.

    Args:
        root: the module to trace; a tracer can be used only once.
        opened: paths of the modules to trace through, in addition to the root; None traces
            through all modules but torch's layers.
    """

    def __init__(self, root: nn.Module, opened: frozenset[str] | None = None) -> None:
        super().__init__()
        # Otherwise buffers become constants with other names.
        self.proxy_buffer_attributes = True
        self._opened = opened
        self._trace = Trace(root, fx.Graph())

    def record(self, concrete_args: dict[str, Any] | None = None) -> Trace:
        """Trace the root."""
        traced = self._trace
        traced.graph = self.trace(traced.root, concrete_args)
        for node in traced.graph.find_nodes(op="placeholder"):
            # torch.fx appends numbers to fixed arguments, which breaks passing them by keyword.
            name = str(node.target).rpartition("_")[0]
            if name in (concrete_args or {}):
                node.target = name
        return traced

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether m is a leaf: not opened, or one of torch's layers."""
        if self._opened is not None:
            return module_qualified_name not in self._opened
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a call of m, and record its input and output."""
        call = self._trace.enter(self.path_of_module(m), m)
        values = [*args, *kwargs.values()]
        call.entry = next((value.node for value in values if isinstance(value, fx.Proxy)), None)
        try:
            result = super().call_module(m, forward, args, kwargs)
        except BaseException:
            self._trace.current = call.parent
            raise
        self._trace.leave(call, result.node if isinstance(result, fx.Proxy) else None)
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Create a node, and record its call and the name of its operation."""
        node = super().create_node(*args, **kwargs)
        self._trace.note(node)
        return node

    def create_arg(self, a: Any) -> Any:
        """Keep OrderedDict and other dict classes, which torch.fx turns into plain dict."""
        if isinstance(a, dict) and type(a) is not dict:
            pairs = [(key, value) for key, value in a.items()]
            return self.create_node("call_function", type(a), (self.create_arg(pairs),), {})
        return super().create_arg(a)


def trace(root: nn.Module, opened: frozenset[str] | None = None) -> Trace:
    """Trace root in its current mode (train or eval).

    Optional arguments of ``forward`` stay arguments unless the control flow depends on them; then
    they are fixed at their defaults.
    """
    try:
        return SiteTracer(root, opened).record()
    except Exception as error:
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(root.forward).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        if defaults:
            try:
                return SiteTracer(root, opened).record(defaults)
            except Exception:
                pass
        # Only the first sentence: the others give advice on changing the model's code.
        reason = first_line(error).split(". ")[0]
        raise ModelError(f"{type(root).__name__} cannot be traced by torch.fx: {reason}") from error
