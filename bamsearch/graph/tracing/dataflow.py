"""Data flow in a trace: dominators, and the nodes that lead to the output."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

import networkx
import torch
from torch import fx, nn
from torch.nn import functional as F

from bamsearch.graph.tracing.tracer import Trace

_WEIGHTED = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.MultiheadAttention,
)
_WEIGHTED_FUNCTIONS = frozenset({F.conv2d, F.conv3d, F.linear, F.scaled_dot_product_attention})
# These use only the shape of their argument.
_SHAPE_ONLY = frozenset(
    {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}
    | {"new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"}
)
_PRODUCTS = frozenset({operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"})


def weighted_nodes(traced: Trace) -> set[fx.Node]:
    """Convolution, linear and attention nodes; norms do not count."""
    return {
        node
        for node in traced.graph.nodes
        if node.target in _WEIGHTED_FUNCTIONS
        or (
            node.op == "call_module"
            and isinstance(traced.root.get_submodule(str(node.target)), _WEIGHTED)
        )
    }


def count_weighted(node: fx.Node, weighted: set[fx.Node]) -> int:
    """Number of weighted nodes up to and including node; counting stops at two."""
    seen, stack, count = {node}, [node], 0
    while stack and count < 2:
        current = stack.pop()
        count += current in weighted
        for source in current.all_input_nodes:
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return count


def followed_by(traced: Trace, weighted: set[fx.Node]) -> set[fx.Node]:
    """Nodes with a weighted node downstream."""
    followed: set[fx.Node] = set()
    for node in reversed(traced.graph.nodes):
        if any(user in weighted or user in followed for user in node.users):
            followed.add(node)
    return followed


def flow(traced: Trace, data: set[fx.Node], weighted: set[fx.Node]) -> dict[fx.Node, set[fx.Node]]:
    """Map each node to the nodes whose tensors it takes, in graph order.

    Edges that carry only a size are left out, as are edges that feed the raw image to a node that
    already gets features, as in late fusion and residual restoration.

    Args:
        traced: the trace.
        data: nodes that output tensors.
        weighted: see :func:`weighted_nodes`.
    """
    featured: set[fx.Node] = set()
    sources: dict[fx.Node, set[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op != "output" and node not in data:
            continue
        name = node.target if isinstance(node.target, str) else node.target.__name__
        inputs = set() if name in _SHAPE_ONLY else data.intersection(node.all_input_nodes)
        if node in weighted or not featured.isdisjoint(inputs):
            featured.add(node)
        if node not in weighted and node in featured:
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
    ends, containers = put_out(output)
    edges = _edges({n: inputs for n, inputs in sources.items() if n not in {output, *containers}})
    edges.add_nodes_from([*ends, output])
    edges.add_edges_from([(end, output) for end in ends if not edges.out_degree(end)])
    dominators = networkx.immediate_dominators(edges.reverse(copy=False), output)
    passed: set[fx.Node] = set()
    while node is not None and node is not output and dominators.get(node) is not None:
        node = dominators[node]
        passed.add(node)
    return passed


def put_out(output: fx.Node) -> tuple[set[fx.Node], set[fx.Node]]:
    """The output nodes of a network, and the nodes that construct containers around them."""
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

    Args:
        sources: see :func:`flow`.
        depth: number of reductions before each node.
    """
    ungated: dict[fx.Node, set[fx.Node]] = {}
    for node, inputs in sources.items():
        ungated[node] = inputs - _gates(node, inputs, ungated, depth)
    outputs = [node for node in sources if node.op == "output"]
    if not outputs:
        return set(sources)  # an incomplete recording
    return set().union(*(_ancestors(node, ungated) for node in outputs))


def _gates(
    node: fx.Node,
    inputs: set[fx.Node],
    ungated: Mapping[fx.Node, set[fx.Node]],
    depth: Mapping[fx.Node, int],
) -> set[fx.Node]:
    if node.target not in _PRODUCTS or len(inputs) != 2:
        return set()
    factors = list(inputs)
    above = [_ancestors(factor, ungated) for factor in factors]
    shared = above[0] & above[1]
    level = max((depth.get(n, 0) for n in shared), default=0)
    deeper = [any(depth.get(n, 0) > level for n in nodes - shared) for nodes in above]
    return {factors[deeper.index(True)]} if deeper[0] != deeper[1] else set()


def _ancestors(node: fx.Node, sources: Mapping[fx.Node, set[fx.Node]]) -> set[fx.Node]:
    seen, stack = {node}, [node]
    while stack:
        for source in sources[stack.pop()]:
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return seen
