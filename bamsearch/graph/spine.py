"""The spine: the feature maps on all paths through a network, and the reductions between them.

The spine is a chain of immediate dominators from the input to a node on the way to the output,
the one whose chain has the most spatial reductions. Branches (squeeze-excite pools, windows,
channel shuffles, the outputs of a feature pyramid) dominate nothing and so are never on the spine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import fx, nn
from torch.nn import functional as F

from bamsearch.graph.roles import FeatureMap, Probed, is_pooling
from bamsearch.graph.tracing import dataflow
from bamsearch.graph.tracing.tracer import ModuleCall, Trace

# Smaller ratios, as in Inception's valid convolutions (111 -> 109), are not reductions.
_REDUCTION = 1.5
_PADS = frozenset({F.pad, torch._C._nn.pad, torch.constant_pad_nd, "pad"})


@dataclass(frozen=True, slots=True)
class Reduction:
    """A step of the spine where H or W shrinks by 1.5 times or more.

    Attributes:
        before: the map that is reduced, at the entry of the outermost module with exactly this
            reduction: inside MobileNet's block it would be the 6x expanded tensor.
        after: the first reduced map.
        reducer: dotted path of the module or operation that reduces it.
    """

    before: fx.Node
    after: fx.Node
    reducer: str


@dataclass(frozen=True, slots=True)
class Spine:
    """The chain of feature maps from the input to the deepest point.

    Attributes:
        maps: the maps in order, starting with the input.
        strides: stride of each map: the product of the rounded reductions before it.
        reductions: the reductions in order.
        pooling: the global pooling at the end of the spine, if any.
        way: nodes between the last map and the output, in graph order.
    """

    maps: dict[fx.Node, FeatureMap]
    strides: dict[fx.Node, int]
    reductions: tuple[Reduction, ...]
    pooling: fx.Node | None = None
    way: tuple[fx.Node, ...] = ()


@dataclass(slots=True)
class _Descent:
    """Properties of every node that the input reaches.

    Attributes:
        dominator: immediate dominator.
        above: nearest map at or before the node.
        depth: number of reductions before the node.
        trunk: nodes that dominate the output.
    """

    dominator: dict[fx.Node, fx.Node | None]
    above: dict[fx.Node, fx.Node | None] = field(default_factory=dict)
    depth: dict[fx.Node, int] = field(default_factory=dict)
    trunk: set[fx.Node] = field(default_factory=set)


def find_spine(trace: Trace, probed: Probed) -> Spine:
    """Find the spine of a traced network; it has no reductions if the resolution never changes."""
    sources = dataflow.flow(trace, probed.data)
    sizes = _Sizes(trace, probed.maps)
    descent = _descend(trace, probed, dataflow.immediate_dominators(trace, sources), sizes)
    above = descent.above
    on_spine = [node for node in probed.maps if above.get(node) is node]
    if not on_spine:
        return Spine({}, {}, ())
    way = dataflow.on_the_way(sources, descent.depth)
    nodes = list(descent.dominator)
    pools = [n for n in nodes if n in descent.trunk and above[n] is not n and is_pooling(trace, n)]
    passing = [node for node in on_spine if node in way] or on_spine
    tip = _tip(passing, descent, sizes, sources, pooled=bool(pools))
    chain = _chain(tip, descent)
    after = nodes[nodes.index(tip) + 1 :]
    below = {tip}
    for node in after:
        if node in way and not below.isdisjoint(sources[node]):
            below.add(node)
    return _spine(
        trace,
        {node: probed.maps[node] for node in chain},
        sizes,
        pooling=next((node for node in after if node in pools), None),
        way=tuple(node for node in after if node in below),
    )


def _descend(
    trace: Trace, probed: Probed, dominator: dict[fx.Node, fx.Node | None], sizes: _Sizes
) -> _Descent:
    maps = probed.maps
    descent = _Descent(dominator, trunk=_dominators_of_output(dominator))
    off: set[fx.Node] = set()  # after global pooling, or back from tokens
    tokens: set[fx.Node] = set()  # a sequence lies between the nearest map and the node
    for node, parent in dominator.items():
        nearest = descent.above[parent] if parent is not None else None
        # MViT's tokens become a grid again inside a block, PVT's and CoaT's between two blocks.
        back = parent in tokens and node in maps and node not in descent.trunk
        back_in_branch = back and any(
            call.entry in probed.tokens for call in trace.owner[node].chain()
        )
        pooled = node in maps and maps[node].size == (1, 1) and is_pooling(trace, node)
        if parent in off or back_in_branch or pooled:
            off.add(node)
        is_map = node in maps and node not in off
        shrinks = is_map and sizes.add(node, nearest)
        if not is_map and (node in probed.tokens or parent in tokens):
            tokens.add(node)
        descent.above[node] = node if is_map else nearest
        descent.depth[node] = (descent.depth[parent] if parent is not None else 0) + shrinks
    return descent


def _tip(
    nodes: list[fx.Node],
    descent: _Descent,
    sizes: _Sizes,
    sources: Mapping[fx.Node, set[fx.Node]],
    *,
    pooled: bool,
) -> fx.Node:
    """The last map after the most reductions, before the map is enlarged or branches.

    HRNet reduces its maps in many steps across branches, but in one step on its trunk. So if a
    later map on the trunk is as small, the tip is the last such map. It is also on the trunk if
    the network ends in global pooling: smaller maps off the trunk belong to attention.
    """
    smallest = _smallest(nodes, descent, sizes)
    tip = smallest[-1]
    if tip in descent.trunk:
        return tip
    later = nodes[nodes.index(tip) + 1 :]
    if any(n in descent.trunk and (pooled or sizes.ratio(n, tip) <= 1) for n in later):
        return _smallest([n for n in nodes if n in descent.trunk], descent, sizes)[-1]
    first, *others = [node for node in nodes if sizes.ratio(node, tip) <= 1]
    always = dataflow.after_always(sources, first)
    return [first, *(node for node in others if node in always)][-1]


def _smallest(nodes: list[fx.Node], descent: _Descent, sizes: _Sizes) -> list[fx.Node]:
    """The nodes with the most reductions, without maps that were enlarged again."""
    deepest = max(descent.depth[node] for node in nodes)
    reduced = [node for node in nodes if descent.depth[node] == deepest]
    return [node for node in reduced if sizes.ratio(node, reduced[0]) <= 1]


def _dominators_of_output(dominator: dict[fx.Node, fx.Node | None]) -> set[fx.Node]:
    trunk: set[fx.Node] = set()
    node = next((node for node in dominator if node.op == "output"), None)
    while node is not None:
        trunk.add(node)
        node = dominator[node]
    return trunk


def _chain(tip: fx.Node, descent: _Descent) -> list[fx.Node]:
    chain: list[fx.Node] = []
    node: fx.Node | None = tip
    while node is not None:
        chain.append(node)
        parent = descent.dominator[node]
        node = descent.above[parent] if parent is not None else None
    return chain[::-1]


def _spine(
    trace: Trace,
    maps: dict[fx.Node, FeatureMap],
    sizes: _Sizes,
    pooling: fx.Node | None,
    way: tuple[fx.Node, ...],
) -> Spine:
    ratios = {(a, b): sizes.ratio(a, b) for a, b in pairwise(maps)}
    steps = [step for step, ratio in ratios.items() if ratio >= _REDUCTION]
    reduced = {after for _, after in steps}
    strides = dict.fromkeys(maps, 1)
    for (before, node), ratio in ratios.items():
        strides[node] = strides[before] * (round(ratio) if node in reduced else 1)
    reductions = tuple(_hoisted(trace, maps, reduced, step, sizes) for step in steps)
    return Spine(maps, strides, reductions, pooling, way)


def _hoisted(
    trace: Trace,
    maps: dict[fx.Node, FeatureMap],
    reduced: set[fx.Node],
    step: tuple[fx.Node, fx.Node],
    sizes: _Sizes,
) -> Reduction:
    """The reduction of a step, at the entry of the outermost module with exactly this reduction."""
    before, after = step
    reducer = trace.operation[after]

    def holds_one(call: ModuleCall) -> bool:
        return sum(call in trace.owner[node].chain() for node in reduced) == 1

    # Not to the raw image: it is the entry of a wrapper around a network with one reduction.
    calls = [call for call in trace.owner[after].chain() if call.path and holds_one(call)]
    for call in reversed(calls):
        if call.entry in maps and dataflow.count_weighted(call.entry, trace):
            before, reducer = call.entry, call.name
            break
    return Reduction(sizes.solid(before), after, reducer)


class _Sizes:
    """Heights and widths of feature maps without explicit padding.

    A padded map, such as 7 -> 11 for a valid 5x5 convolution, counts with its size before padding,
    as do all maps derived from it until the next convolution.
    """

    def __init__(self, traced: Trace, maps: Mapping[fx.Node, FeatureMap]) -> None:
        self._traced = traced
        self._maps = maps
        self._padded: dict[fx.Node, fx.Node] = {}  # padded map → map before padding

    def add(self, node: fx.Node, before: fx.Node | None) -> bool:
        """Add a map and the map before it; return whether the step is a reduction."""
        if before is None:
            return False
        old, new = self._maps[before], self._maps[node]
        grows = new.height >= old.height and new.width >= old.width
        same = new.size == old.size
        unpadded = same and before in self._padded and node not in self._traced.weighted
        if unpadded or (grows and not same and self._pads(node)):
            self._padded[node] = self.solid(before)
        return self.ratio(before, node) >= _REDUCTION

    def solid(self, node: fx.Node) -> fx.Node:
        """The map before padding; node itself if it is not padded."""
        return self._padded.get(node, node)

    def ratio(self, before: fx.Node, after: fx.Node) -> float:
        """Factor by which H or W shrinks, whichever is larger."""
        old, new = (self._maps[self.solid(node)] for node in (before, after))
        return max(old.height / new.height, old.width / new.width)

    def _pads(self, node: fx.Node) -> bool:
        """Whether node is padding, or a convolution, which may pad more than its kernel needs."""
        layer = self._traced.layer(node)
        if layer is None:
            return node.target in _PADS
        homes = {cls.__module__ for cls in type(layer).__mro__}
        convolves = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        return convolves or nn.modules.padding.__name__ in homes
