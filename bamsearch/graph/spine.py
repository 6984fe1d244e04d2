"""The spine: the feature maps that everything passes through, and where they shrink.

Immediate dominators from the input, followed up from the node whose dominator chain has the most
spatial reductions. Branches (squeeze-excite pools, windows, channel shuffles, a feature pyramid's
outputs) are on nobody's way and so never on the spine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import networkx
from torch import fx, nn
from torch.nn import functional as F

from bamsearch.graph.roles import FeatureMap, Probed, is_pooling
from bamsearch.graph.tracing import ModuleCall, Trace

_WEIGHTED = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.MultiheadAttention,
)
_WEIGHTED_FUNCTIONS = frozenset({F.conv2d, F.conv3d, F.linear, F.scaled_dot_product_attention})
# Below this, such as in Inception's valid convolutions (111 -> 109), a map has not been reduced.
_REDUCTION = 1.5


@dataclass(frozen=True, slots=True)
class Reduction:
    """A step of the spine where H or W shrinks by 1.5 times or more.

    Attributes:
        before: the map that is reduced, at the entry of the outermost module that holds exactly
            this one reduction: inside MobileNet's block it would be the 6x expanded tensor.
        after: the first reduced map.
        reducer: dotted path of what reduces it.
    """

    before: fx.Node
    after: fx.Node
    reducer: str


@dataclass(frozen=True, slots=True)
class Spine:
    """The chain of feature maps from the input to the deepest point.

    Attributes:
        maps: the spine's maps in order, the input first.
        strides: the product of the reductions, each rounded, up to every map.
        reductions: in order.
        pooling: the global pooling that ends the spine, if one does.
    """

    maps: dict[fx.Node, FeatureMap]
    strides: dict[fx.Node, int]
    reductions: tuple[Reduction, ...]
    pooling: fx.Node | None = None


def find_spine(trace: Trace, probed: Probed) -> Spine:
    """The spine of a traced network, empty of reductions where it has one resolution.

    Args:
        trace: the deep trace.
        probed: its feature maps, see :func:`bamsearch.graph.roles.probe`.
    """
    maps = probed.maps
    dominator = _immediate_dominators(trace.graph)
    above: dict[fx.Node, fx.Node | None] = {}  # nearest map at or above a node
    depth: dict[fx.Node, int] = {}  # reductions down to a node
    off: set[fx.Node] = set()  # after global pooling, or back from tokens
    trunk = _dominators_of_output(dominator)
    tokens: set[fx.Node] = set()  # a sequence lies between the nearest map and the node
    for node, parent in dominator.items():
        nearest = above[parent] if parent is not None else None
        # MViT's tokens become a grid again inside branches, PVT's on the way to the output.
        back_in_branch = parent in tokens and node in maps and node not in trunk
        if parent in off or back_in_branch or _is_globally_pooled(trace, maps, node):
            off.add(node)
        is_map = node in maps and node not in off
        shrinks = is_map and nearest is not None and _shrinks(maps[nearest], maps[node])
        if not is_map and (node in probed.tokens or parent in tokens):
            tokens.add(node)
        above[node] = node if is_map else nearest
        depth[node] = (depth[parent] if parent is not None else 0) + shrinks
    on_spine = [node for node in maps if above.get(node) is node]
    if not on_spine:
        return Spine({}, {}, ())
    deepest = max(depth[node] for node in on_spine)
    tip = [node for node in on_spine if depth[node] == deepest][-1]
    chain = _chain(tip, dominator, above)
    after = list(dominator)[list(dominator).index(chain[-1]) :]
    ends = (n for n in after if n in trunk and above[n] is not n and is_pooling(trace, n))
    return _spine(trace, {node: maps[node] for node in chain}, next(ends, None))


def weighted_nodes(traced: Trace) -> set[fx.Node]:
    """Nodes that convolve, multiply by a matrix or attend; norms do not count."""
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
    """How many weighted nodes come before node or are it; counting stops at two."""
    seen, stack, count = {node}, [node], 0
    while stack and count < 2:
        current = stack.pop()
        count += current in weighted
        for source in current.all_input_nodes:
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return count


def _dominators_of_output(dominator: dict[fx.Node, fx.Node | None]) -> set[fx.Node]:
    trunk: set[fx.Node] = set()
    node = next((node for node in dominator if node.op == "output"), None)
    while node is not None:
        trunk.add(node)
        node = dominator[node]
    return trunk


def _is_globally_pooled(trace: Trace, maps: dict[fx.Node, FeatureMap], node: fx.Node) -> bool:
    return node in maps and maps[node].height == maps[node].width == 1 and is_pooling(trace, node)


def _chain(
    tip: fx.Node,
    dominator: dict[fx.Node, fx.Node | None],
    above: dict[fx.Node, fx.Node | None],
) -> list[fx.Node]:
    chain: list[fx.Node] = []
    node: fx.Node | None = tip
    while node is not None:
        chain.append(node)
        parent = dominator[node]
        node = above[parent] if parent is not None else None
    return chain[::-1]


def _immediate_dominators(graph: fx.Graph) -> dict[fx.Node, fx.Node | None]:
    """Node to its immediate dominator, in graph order, for what the first input reaches."""
    start = next((node for node in graph.nodes if node.op == "placeholder"), None)
    if start is None:
        return {}
    edges = networkx.DiGraph()
    edges.add_node(start)
    edges.add_edges_from((node, user) for node in graph.nodes for user in node.users)
    dominators = networkx.immediate_dominators(edges, start)
    dominators[start] = None  # networkx before 3.6 gives the start itself
    return {node: dominators[node] for node in graph.nodes if node in dominators}


def _spine(trace: Trace, maps: dict[fx.Node, FeatureMap], pooling: fx.Node | None) -> Spine:
    nodes = list(maps)
    steps = [
        (before, after) for before, after in pairwise(nodes) if _shrinks(maps[before], maps[after])
    ]
    reduced = {after for _, after in steps}
    strides: dict[fx.Node, int] = {}
    stride = 1
    for before, node in zip([None, *nodes], nodes, strict=False):
        if before is not None and node in reduced:
            stride *= round(_ratio(maps[before], maps[node]))
        strides[node] = stride
    reductions = tuple(_hoist(trace, maps, reduced, before, after) for before, after in steps)
    return Spine(maps, strides, reductions, pooling)


def _hoist(
    trace: Trace,
    maps: dict[fx.Node, FeatureMap],
    reduced: set[fx.Node],
    before: fx.Node,
    after: fx.Node,
) -> Reduction:
    """Move the reduction to the entry of the outermost module with exactly this one in it."""

    def holds_one(call: ModuleCall) -> bool:
        return sum(call in trace.owner[node].chain() for node in reduced) == 1

    # Not to the raw image, the entry of a wrapper around a network with one reduction.
    weighted = weighted_nodes(trace)
    calls = [call for call in trace.owner[after].chain() if call.path and holds_one(call)]
    for call in reversed(calls):
        if call.entry in maps and count_weighted(call.entry, weighted):
            return Reduction(call.entry, after, call.name)
    return Reduction(before, after, trace.operation[after])


def _shrinks(before: FeatureMap, after: FeatureMap) -> bool:
    return _ratio(before, after) >= _REDUCTION


def _ratio(before: FeatureMap, after: FeatureMap) -> float:
    return max(before.height / after.height, before.width / after.width)
