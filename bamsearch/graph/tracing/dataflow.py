"""Data flow in a trace: dominators, and the nodes that lead to the output."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import TypeVar

import networkx
import torch
from torch import fx

from bamsearch.graph.tracing.tracer import Trace, target_name

AnyNode = TypeVar("AnyNode")

# These use only the shape of their argument.
_SHAPE_ONLY = frozenset(
    {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}
    | {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"}
)
_PRODUCTS = frozenset({operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"})


def reachable(
    starts: Iterable[AnyNode], following: Callable[[AnyNode], Iterable[AnyNode]]
) -> Iterator[AnyNode]:
    """The starts and everything that can be reached from them, each once."""
    stack = list(dict.fromkeys(starts))
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        new = [other for other in following(node) if other not in seen]
        seen.update(new)
        stack += new


def count_weighted(node: fx.Node, traced: Trace) -> int:
    """Number of weighted nodes up to and including node; counting stops at two."""
    before = reachable([node], attrgetter("all_input_nodes"))
    return len(list(islice((source for source in before if source in traced.weighted), 2)))


def followed_by_weighted(traced: Trace) -> set[fx.Node]:
    """Nodes with a weighted node downstream."""
    followed: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        if any(user in traced.weighted or user in followed for user in node.users):
            followed.add(node)
    return followed


def flow(traced: Trace, data: set[fx.Node]) -> dict[fx.Node, set[fx.Node]]:
    """Map each node to the nodes whose tensors it takes, in graph order.

    Edges that carry only a size are left out, as are edges that feed the raw image to a node that
    already gets features, as in late fusion and residual restoration.
    """
    featured: set[fx.Node] = set()
    sources: dict[fx.Node, set[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op != "output" and node not in data:
            continue
        shape_only = target_name(node) in _SHAPE_ONLY
        inputs = set() if shape_only else data.intersection(node.all_input_nodes)
        if node in traced.weighted or not featured.isdisjoint(inputs):
            featured.add(node)
        if node not in traced.weighted and node in featured:
            inputs &= featured
        sources[node] = inputs
    return sources


def immediate_dominators(
    traced: Trace, sources: Mapping[fx.Node, Iterable[fx.Node]]
) -> dict[fx.Node, fx.Node | None]:
    """Map each node reachable from the first input to its immediate dominator, in graph order."""
    start = next(iter(traced.graph.find_nodes(op="placeholder")), None)
    if start is None:
        return {}
    edges = _edges(sources)
    edges.add_node(start)
    dominators = networkx.immediate_dominators(edges, start)
    dominators[start] = None  # networkx before 3.6 gives the start itself
    return {node: dominators[node] for node in traced.graph.nodes if node in dominators}


def after_always(
    sources: Mapping[fx.Node, Iterable[fx.Node]], node: fx.Node | None
) -> set[fx.Node]:
    """Nodes on every path from node to the output.

    A map that is both an output and used further, as in a backbone, does not end a path.
    """
    output = next((other for other in sources if other.op == "output"), None)
    if output is None:
        return set(sources)
    ends, containers = network_outputs(output)
    edges = _edges({n: inputs for n, inputs in sources.items() if n not in {output, *containers}})
    edges.add_nodes_from([*ends, output])
    edges.add_edges_from([(end, output) for end in ends if not edges.out_degree(end)])
    dominators = networkx.immediate_dominators(edges.reverse(copy=False), output)
    passed: set[fx.Node] = set()
    while node is not None and node is not output and dominators.get(node) is not None:
        node = dominators[node]
        passed.add(node)
    return passed


def network_outputs(output: fx.Node) -> tuple[set[fx.Node], set[fx.Node]]:
    """The nodes that a network returns, and the nodes that construct containers around them."""
    ends: set[fx.Node] = set()
    containers: set[fx.Node] = set()
    stack = list(output.all_input_nodes)
    while stack:
        node = stack.pop()
        if isinstance(node.target, type):  # OrderedDict(...)
            containers.add(node)
            stack.extend(node.all_input_nodes)
        else:
            ends.add(node)
    return ends, containers


def _edges(sources: Mapping[fx.Node, Iterable[fx.Node]]) -> networkx.DiGraph:
    edges = networkx.DiGraph()
    edges.add_edges_from((source, node) for node, inputs in sources.items() for source in inputs)
    return edges


def on_the_way(
    sources: Mapping[fx.Node, set[fx.Node]], depth: Mapping[fx.Node, int]
) -> set[fx.Node]:
    """Nodes whose maps reach the output other than through a gate.

    A gate is a factor of a product with a lower resolution on its path than the other factor:
    GhostNetV2's pooled attention, the mask of a residual attention network.
    """
    ungated: dict[fx.Node, set[fx.Node]] = {}
    for node, inputs in sources.items():
        ungated[node] = inputs - _gates(node, inputs, ungated, depth)
    outputs = [node for node in sources if node.op == "output"]
    if not outputs:
        return set(sources)  # an incomplete recording
    return set(reachable(outputs, ungated.__getitem__))


def _gates(
    node: fx.Node,
    inputs: set[fx.Node],
    ungated: Mapping[fx.Node, set[fx.Node]],
    depth: Mapping[fx.Node, int],
) -> set[fx.Node]:
    if node.target not in _PRODUCTS or len(inputs) != 2:
        return set()
    factors = list(inputs)
    above = [set(reachable([factor], ungated.__getitem__)) for factor in factors]
    shared = above[0] & above[1]
    level = max((depth.get(n, 0) for n in shared), default=0)
    deeper = [any(depth.get(n, 0) > level for n in nodes - shared) for nodes in above]
    return {factors[deeper.index(True)]} if deeper[0] != deeper[1] else set()
