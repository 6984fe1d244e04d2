"""Necks: maps of decoders and pyramids, between the deepest map and the output."""

from __future__ import annotations

from torch import fx

from bamsearch.graph.roles import FeatureMap, Probed
from bamsearch.graph.spine import Spine
from bamsearch.graph.tracing.dataflow import followed_by, put_out, weighted_nodes
from bamsearch.graph.tracing.tracer import ModuleCall, Trace

# A decoder block has its output's and its input's size; with more, it is a whole decoder.
_SIZES = 2


def necks(traced: Trace, probed: Probed, spine: Spine) -> list[fx.Node]:
    """Outputs of the outermost modules after the spine that are feature maps, in graph order.

    Modules of several sizes (a whole decoder) and modules around the spine's end are searched
    inside. Bare layers are not necks, nor are maps without a weighted layer downstream, such as a
    decoder's scores, unless the network outputs several maps.
    """
    weighted = weighted_nodes(traced)
    busy = {call for node in weighted for call in traced.owner[node].chain()}
    tip = list(spine.maps)[-1]
    features = followed_by(traced, weighted) | outputs(traced, probed.maps)
    after = [n for n in spine.way if n in probed.maps and n in features and n not in spine.maps]
    sizes = _sizes_inside(traced, probed.maps)

    def is_neck(call: ModuleCall) -> bool:
        layers = any(True for _ in call.module.children()) and call in busy and call.path
        around = call in traced.owner[tip].chain()
        return bool(layers) and not around and len(sizes.get(call, ())) <= _SIZES

    chosen = {call for call in traced.calls if call.output in after and is_neck(call)}
    outermost = {
        call.output
        for call in chosen
        if call.parent is None or chosen.isdisjoint(call.parent.chain())
    }
    return [node for node in after if node in outermost]


def outputs(traced: Trace, maps: dict[fx.Node, FeatureMap]) -> set[fx.Node]:
    """The maps that a network outputs, if it outputs several."""
    ends = traced.graph.find_nodes(op="output")
    output_maps = {node for end in ends for node in put_out(end)[0] if node in maps}
    return output_maps if len(output_maps) > 1 else set()


def neck_stride(spine: Spine, shape: FeatureMap) -> int:
    """Stride of a map: that of the spine's map of the same size, else the ratio to the input."""
    for node, other in spine.maps.items():
        if (other.height, other.width) == (shape.height, shape.width):
            return spine.strides[node]
    image = next(iter(spine.maps.values()))
    return max(1, round(max(image.height / shape.height, image.width / shape.width)))


def _sizes_inside(
    traced: Trace, maps: dict[fx.Node, FeatureMap]
) -> dict[ModuleCall, set[tuple[int, int]]]:
    sizes: dict[ModuleCall, set[tuple[int, int]]] = {}
    for node, shape in maps.items():
        for call in traced.owner[node].chain():
            sizes.setdefault(call, set()).add((shape.height, shape.width))
    return sizes
