"""Sites: the feature maps after which BAM can be inserted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from bamsearch.errors import ModelError
from bamsearch.graph.dataflow import count_weighted, followed_by, weighted_nodes
from bamsearch.graph.necks import neck_stride, necks, outputs
from bamsearch.graph.network import Network, find_network
from bamsearch.graph.roles import FeatureMap
from bamsearch.graph.spine import Spine, find_spine
from bamsearch.graph.tracing import ModuleCall, Trace
from bamsearch.records import Kind, Site, check_input_shape


def find_sites(
    model: nn.Module,
    input_shape: Sequence[int] = (3, 224, 224),
    *,
    example_inputs: Any = None,
) -> list[Site]:
    """Find every place for BAM in a model, from the input on.

    A copy of the model on the meta device is traced with torch.fx: nothing is computed and the
    model is not changed. What torch.fx cannot trace is run once and recorded, on the meta device,
    or, where the control flow depends on values, on real tensors. Where a torchvision detector
    does not trace, its feature network does.

    Args:
        model: any module with convolutions.
        input_shape: one input without the batch: (C, H, W), or (C, T, H, W) for video.
        example_inputs: what to call a model with that takes more than images: a tuple of
            arguments, or a dict (keyword arguments where all its keys are arguments of forward,
            else the one argument). The first floating tensor of 4 or 5 axes in it is the image,
            a batch of input_shape.

    Returns:
        The sites; none where one resolution is kept throughout, as in ViT.

    Raises:
        ModelError: the model can neither be traced nor run, or it does not take this input; the
            message has the line of the model's source that is in the way.
        InvalidValueError: an impossible input_shape, or example_inputs without such an image.
    """
    return sites_of(find_network(model, check_input_shape(input_shape), example_inputs))


def sites_of(network: Network) -> list[Site]:
    """The sites of a feature network, see :func:`find_sites`.

    Raises:
        ModelError: the network does not take its input, or no reduction came before its recording
            broke off.
    """
    probed = network.probe()
    spine = find_spine(network.deep, probed)
    if network.stopped is not None and not spine.reductions:
        raise ModelError(
            f"{type(network.module).__name__} breaks off before its map is reduced: "
            f"{network.stopped}"
        )
    names = network.deep.site_names()
    prefix = f"{network.path}." if network.path else ""
    is_part = bool(network.path)
    sites = [
        _site(
            prefix + names[node],
            spine.maps[node],
            spine.strides[node],
            kind,
            prefix + reducer if reducer else None,
        )
        for node, kind, reducer in _sites(network.deep, spine, is_part=is_part)
    ]
    if is_part or not spine.reductions:
        return sites
    return sites + [
        _site(names[node], probed.maps[node], neck_stride(spine, probed.maps[node]), "neck", None)
        for node in necks(network.deep, probed, spine)
    ]


def _sites(traced: Trace, spine: Spine, *, is_part: bool) -> list[tuple[fx.Node, Kind, str | None]]:
    """(node, kind, reducer) of every site in network order; a node has the first kind it earns."""
    if not spine.reductions:
        return []
    weighted = weighted_nodes(traced)
    raw = {node for node in spine.maps if count_weighted(node, weighted) == 0}
    found: dict[fx.Node, tuple[Kind, str | None]] = {}
    for reduction in spine.reductions:
        if reduction.before not in raw:
            stem = count_weighted(reduction.before, weighted) <= 1
            found[reduction.before] = ("stem" if stem else "bottleneck", reduction.reducer)
    head = _head(traced, spine, weighted, is_part=is_part)
    if head is not None and count_weighted(head, weighted) > 1:
        pooling = traced.site_names()[spine.pooling] if spine.pooling is not None else None
        found.setdefault(head, ("head", pooling))
    for node in _block_outputs(traced, spine, weighted):
        found.setdefault(node, ("block", None))
    return [(node, *found[node]) for node in spine.maps if node in found]


def _site(name: str, shape: FeatureMap, stride: int, kind: Kind, reducer: str | None) -> Site:
    return Site(
        name,
        shape.channels,
        shape.height,
        shape.width,
        stride,
        shape.layout,
        kind,
        reducer,
        shape.frames,
    )


def _head(traced: Trace, spine: Spine, weighted: set[fx.Node], *, is_part: bool) -> fx.Node | None:
    """The last map at the last resolution that a weighted layer still follows.

    SqueezeNet's and FCN's last maps are the class scores themselves. What follows a part of a
    detector, or a network that puts out several maps, is outside its trace.
    """
    lowest = spine.maps[spine.reductions[-1].after]
    last = [
        n for n, m in spine.maps.items() if (m.height, m.width) == (lowest.height, lowest.width)
    ]
    if is_part or last[-1] in outputs(traced, spine.maps):
        return last[-1]
    followed = followed_by(traced, weighted)
    last = [node for node in last if node in followed and not _is_dropout(traced, node)]
    return last[-1] if last else None


def _is_dropout(traced: Trace, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(
        traced.root.get_submodule(str(node.target)), nn.modules.dropout._DropoutNd
    )


def _block_outputs(traced: Trace, spine: Spine, weighted: set[fx.Node]) -> list[fx.Node]:
    """Outputs of modules on the spine whose class recurs among their siblings and that keep H x W.

    Bare layers and sequences are no blocks: VGG has none. Nor is what has no weighted layer.
    """
    busy = {call for node in weighted for call in traced.owner[node].chain()}

    def is_block(call: ModuleCall) -> bool:
        if call not in busy or isinstance(call.module, nn.Sequential):
            return False
        siblings = traced.root.get_submodule(call.path.rpartition(".")[0]).children()
        recurs = Counter(type(sibling) for sibling in siblings)[type(call.module)] > 1
        return recurs and any(True for _ in call.module.children())

    def size(node: fx.Node | None) -> tuple[int, int] | None:
        shape = spine.maps.get(node) if node is not None else None
        return (shape.height, shape.width) if shape else None

    return [
        call.output
        for call in traced.calls
        if call.output in spine.maps and size(call.entry) == size(call.output) and is_block(call)
    ]
