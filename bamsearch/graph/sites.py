"""Sites: the feature maps after which BAM can be inserted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import fx, nn

from bamsearch.errors import ModelError
from bamsearch.graph.models import named_module
from bamsearch.graph.necks import neck_stride, necks, outputs
from bamsearch.graph.network import FeatureNetwork, find_network
from bamsearch.graph.roles import FeatureMap
from bamsearch.graph.spine import Spine, find_spine
from bamsearch.graph.tracing.dataflow import count_weighted, followed_by, weighted_nodes
from bamsearch.graph.tracing.tracer import ModuleCall, Trace
from bamsearch.records import InputShape, Kind, Site
from bamsearch.records.arguments import checked


@checked
def find_sites(
    model: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    example_inputs: Any = None,
) -> list[Site]:
    """Find all sites for BAM in a model, in network order.

    A copy of the model on the meta device is traced with torch.fx: nothing is computed and the
    model is not changed. If torch.fx cannot trace it, the copy runs once and is recorded, on the
    meta device or, if the control flow depends on values, with real tensors. For a torchvision
    detector that cannot be traced, its backbone is used.

    Args:
        model: any module with convolutions, or a MODEL such as ``"resnet18"``.
        input_shape: shape of one input without the batch: (C, H, W), or (C, T, H, W) for video; 64
            is (3, 64, 64). None is the MODEL's default, and (3, 224, 224) for a module.
        example_inputs: inputs for models that take more than images: a tuple of arguments, or a
            dict (keyword arguments if all its keys are arguments of forward, else the only
            argument). The first floating-point tensor of 4 or 5 axes is the image, a batch of
            input_shape.

    Returns:
        The sites; an empty list if the resolution never changes, as in ViT.

    Raises:
        ModelError: the model can neither be traced nor run, or does not accept this input; the
            message names the line of the model's source that failed.
        InvalidValueError: an invalid input_shape, or example_inputs without such an image.
    """
    _, module, shape = named_module(model, input_shape)
    return sites_of(find_network(module, shape, example_inputs))


def sites_of(network: FeatureNetwork) -> list[Site]:
    """The sites of a feature network, see :func:`find_sites`.

    Raises:
        ModelError: the network does not accept its input, or its recording stopped before the
            first reduction.
    """
    probed = network.probe()
    spine = find_spine(network.deep, probed)
    if network.stopped is not None and not spine.reductions:
        raise ModelError(
            f"{type(network.module).__name__} stops before its feature map is reduced: "
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
    """(node, kind, reducer) of every site in network order; a node gets its first matching kind."""
    if not spine.reductions:
        return []
    weighted = weighted_nodes(traced)
    raw = {node for node in spine.maps if count_weighted(node, weighted) == 0}
    kinds: dict[fx.Node, tuple[Kind, str | None]] = {}
    for reduction in spine.reductions:
        if reduction.before not in raw:
            stem = count_weighted(reduction.before, weighted) <= 1
            kinds[reduction.before] = ("stem" if stem else "bottleneck", reduction.reducer)
    head = _head(traced, spine, weighted, is_part=is_part)
    if head is not None and count_weighted(head, weighted) > 1:
        pooling = traced.site_names()[spine.pooling] if spine.pooling is not None else None
        kinds.setdefault(head, ("head", pooling))
    for node in _block_outputs(traced, spine, weighted):
        kinds.setdefault(node, ("block", None))
    return [(node, *kinds[node]) for node in spine.maps if node in kinds]


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
    """The last map at the lowest resolution that has a weighted layer downstream.

    The last maps of SqueezeNet and FCN are the class scores themselves. In a part of a detector,
    or a network that outputs several maps, the layers downstream are outside the trace.
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

    Bare layers (as in VGG), sequences and modules without a weighted layer are not blocks.
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
