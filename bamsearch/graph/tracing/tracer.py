"""Symbolic tracing that records which module call created each node.

One tracer makes both traces: the deep one, through all modules but torch's layers, for finding
sites; the coarse one, with all modules without a site as leaves, for rewriting. Networks that
cannot be traced are recorded instead (:mod:`bamsearch.graph.tracing.recording`), with the same
names.
"""

from __future__ import annotations

import inspect
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from bamsearch.errors import ModelError


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


@dataclass(eq=False, slots=True)
class Trace:
    """A graph with the module calls that created it.

    Attributes:
        root: the module that was traced.
        graph: its graph.
        calls: module calls in the order in which they returned, without the root's.
        owner: the innermost call that created each node.
        operation: dotted path of each node's operation: its module's path, then the operation.
    """

    root: nn.Module
    graph: fx.Graph
    calls: list[ModuleCall]
    owner: dict[fx.Node, ModuleCall]
    operation: dict[fx.Node, str]

    def site_names(self) -> dict[fx.Node, str]:
        """Map each node to the name of the outermost module whose output it is."""
        names = dict(self.operation)
        # Calls return innermost first, so the outermost name is written last.
        for call in self.calls:
            if call.output is not None and call in self.owner[call.output].chain():
                names[call.output] = call.name
        return names


class Journal:
    """Module calls and operation names, collected while a graph is created.

    Attributes:
        calls: module calls in the order in which they returned.
        owner: the innermost call that created each node.
        operation: dotted path of each node's operation.
        current: the innermost running call; None outside the root.
    """

    def __init__(self) -> None:
        self.calls: list[ModuleCall] = []
        self.owner: dict[fx.Node, ModuleCall] = {}
        self.operation: dict[fx.Node, str] = {}
        self.current: ModuleCall | None = None
        self._made: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()

    def enter(self, path: str, module: nn.Module) -> ModuleCall:
        """Start a call of the module at path."""
        self._numbers[path] += 1
        self.current = ModuleCall(path, self._numbers[path], module, self.current)
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
            target = node.target if isinstance(node.target, str) else node.target.__name__
            path = f"{path}.{target}" if path else target
        self._made[path] += 1
        count = self._made[path]
        self.operation[node] = path if count == 1 else f"{path}_{count - 1}"

    def trace(self, root: nn.Module, graph: fx.Graph) -> Trace:
        """The finished trace."""
        return Trace(root, graph, self.calls, self.owner, self.operation)


class SiteTracer(fx.Tracer):
    """Tracer that keeps buffers and container types, and records module calls.

    Args:
        opened: paths of the modules to trace through, in addition to the root; None traces
            through all modules but torch's layers.
    """

    def __init__(self, opened: frozenset[str] | None = None) -> None:
        super().__init__()
        # Otherwise buffers become constants with other names.
        self.proxy_buffer_attributes = True
        self._opened = opened
        self._journal = Journal()

    def record(self, root: nn.Module, concrete_args: dict[str, Any] | None = None) -> Trace:
        """Trace root; a tracer can be used only once."""
        self._journal.enter("", root)
        graph = self.trace(root, concrete_args)
        for node in graph.find_nodes(op="placeholder"):
            # torch.fx appends numbers to fixed arguments, which breaks passing them by keyword.
            name = str(node.target).rpartition("_")[0]
            if name in (concrete_args or {}):
                node.target = name
        return self._journal.trace(root, graph)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether m is a leaf: not opened, or one of torch's layers."""
        if self._opened is not None:
            return module_qualified_name not in self._opened
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a call of m, and record its input and output."""
        call = self._journal.enter(self.path_of_module(m), m)
        values = [*args, *kwargs.values()]
        call.entry = next((value.node for value in values if isinstance(value, fx.Proxy)), None)
        try:
            result = super().call_module(m, forward, args, kwargs)
        except BaseException:
            self._journal.current = call.parent
            raise
        self._journal.leave(call, result.node if isinstance(result, fx.Proxy) else None)
        return result

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Create a node, and record its call and the name of its operation."""
        node = super().create_node(*args, **kwargs)
        self._journal.note(node)
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

    Raises:
        ModelError: torch.fx cannot trace root.
    """
    try:
        return SiteTracer(opened).record(root)
    except Exception as error:
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(root.forward).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        if defaults:
            try:
                return SiteTracer(opened).record(root, defaults)
            except Exception:
                pass
        # Only the first sentence: the others give advice on changing the model's code.
        reason = (str(error).splitlines() or [""])[0].split(". ")[0] or type(error).__name__
        raise ModelError(f"{type(root).__name__} cannot be traced by torch.fx: {reason}") from error


@contextmanager
def mode(root: nn.Module, *, training: bool) -> Iterator[None]:
    """Set root and all submodules to one mode, and restore each module's mode afterwards."""
    before = OrderedDict((module, module.training) for module in root.modules())
    root.train(training)
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training
