"""Sites: the feature maps after which BAM can be inserted."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from torch import fx, nn

from bamsearch.errors import ModelError
from bamsearch.graph.models import named_module
from bamsearch.graph.network import FeatureNetwork, find_network
from bamsearch.graph.roles import FeatureMap, Probed
from bamsearch.graph.spine import Spine, find_spine
from bamsearch.graph.tracing.dataflow import count_weighted, followed_by_weighted, network_outputs
from bamsearch.graph.tracing.tracer import ModuleCall, Trace
from bamsearch.records import InputShape, Kind, Site
from bamsearch.records.arguments import checked

# A decoder block has its output's and its input's size; with more, it is a whole decoder.
_NECK_SIZES = 2


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
    """The sites of a feature network, see :func:`find_sites`."""
    probed = network.probe()
    spine = find_spine(network.deep, probed)
    if not spine.reductions:
        if network.stopped is None:
            return []
        raise ModelError(
            f"{type(network.module).__name__} stops before its feature map is reduced: "
            f"{network.stopped}"
        )
    names = network.deep.site_names()
    prefix = f"{network.path}." if network.path else ""

    def site(node: fx.Node, stride: int, kind: Kind, reducer: str | None) -> Site:
        shape = probed.maps[node]
        reducer = prefix + reducer if reducer else None
        return Site(
            prefix + names[node],
            *(shape.channels, shape.height, shape.width, stride, shape.layout),
            *(kind, reducer, shape.frames),
        )

    is_part = bool(network.path)
    kinds = _kinds(network.deep, spine, names, is_part=is_part)
    sites = [site(n, spine.strides[n], *kinds[n]) for n in spine.maps if n in kinds]
    if not is_part:
        for node in _necks(network.deep, probed, spine):
            sites.append(site(node, _neck_stride(spine, probed.maps[node]), "neck", None))
    return sites


def _kinds(
    traced: Trace, spine: Spine, names: dict[fx.Node, str], *, is_part: bool
) -> dict[fx.Node, tuple[Kind, str | None]]:
    """Kind and reducer of every site on the spine; a node gets its first matching kind."""
    kinds: dict[fx.Node, tuple[Kind, str | None]] = {}
    for reduction in spine.reductions:
        weighted = count_weighted(reduction.before, traced)
        if weighted:
            kinds[reduction.before] = ("stem" if weighted == 1 else "bottleneck", reduction.reducer)
    head = _head(traced, spine, is_part=is_part)
    if head is not None and count_weighted(head, traced) > 1:
        pooling = None if spine.pooling is None else names[spine.pooling]
        kinds.setdefault(head, ("head", pooling))
    for node in _block_outputs(traced, spine):
        kinds.setdefault(node, ("block", None))
    return kinds


def _head(traced: Trace, spine: Spine, *, is_part: bool) -> fx.Node | None:
    """The last map at the lowest resolution that has a weighted layer downstream.

    The last maps of SqueezeNet and FCN are the class scores themselves. In a part of a detector,
    or a network that outputs several maps, the layers downstream are outside the trace.
    """
    lowest = spine.maps[spine.reductions[-1].after]
    last = [node for node, shape in spine.maps.items() if shape.size == lowest.size]
    if is_part or last[-1] in _several_outputs(traced, spine.maps):
        return last[-1]
    followed = followed_by_weighted(traced)
    dropout = nn.modules.dropout._DropoutNd
    last = [n for n in last if n in followed and not isinstance(traced.layer(n), dropout)]
    return last[-1] if last else None


def _block_outputs(traced: Trace, spine: Spine) -> list[fx.Node]:
    """Outputs of modules on the spine whose class recurs among their siblings and that keep H x W.

    Bare layers (as in VGG), sequences and modules without a weighted layer are not blocks.
    """

    def is_block(call: ModuleCall) -> bool:
        if call not in traced.weighted_calls or isinstance(call.module, nn.Sequential):
            return False
        siblings = traced.root.get_submodule(call.path.rpartition(".")[0]).children()
        recurs = Counter(type(sibling) for sibling in siblings)[type(call.module)] > 1
        return recurs and any(True for _ in call.module.children())

    sizes: dict[fx.Node | None, tuple[int, int]] = {n: m.size for n, m in spine.maps.items()}
    return [
        call.output
        for call in traced.calls
        if call.output in spine.maps
        and sizes.get(call.entry) == sizes[call.output]
        and is_block(call)
    ]


def _necks(traced: Trace, probed: Probed, spine: Spine) -> list[fx.Node]:
    """Maps of decoders and pyramids, between the deepest map and the output, in graph order.

    These are the outputs of the outermost modules after the spine. Modules of several sizes (a
    whole decoder) and modules around the spine's end are searched inside. Bare layers are not
    necks, nor are maps without a weighted layer downstream, such as a decoder's scores, unless the
    network outputs several maps.
    """
    tip = list(spine.maps)[-1]
    features = followed_by_weighted(traced) | _several_outputs(traced, probed.maps)
    after = [n for n in spine.way if n in probed.maps and n in features and n not in spine.maps]
    sizes: dict[ModuleCall, set[tuple[int, int]]] = defaultdict(set)
    for node, shape in probed.maps.items():
        for call in traced.owner[node].chain():
            sizes[call].add(shape.size)

    def is_neck(call: ModuleCall) -> bool:
        has_layers = call in traced.weighted_calls and any(True for _ in call.module.children())
        around = call in traced.owner[tip].chain()
        return bool(has_layers and call.path) and not around and len(sizes[call]) <= _NECK_SIZES

    chosen = {call for call in traced.calls if call.output in after and is_neck(call)}
    outermost = {
        call.output
        for call in chosen
        if call.parent is None or chosen.isdisjoint(call.parent.chain())
    }
    return [node for node in after if node in outermost]


def _several_outputs(traced: Trace, maps: dict[fx.Node, FeatureMap]) -> set[fx.Node]:
    """The maps that a network outputs, if it outputs several."""
    ends = traced.graph.find_nodes(op="output")
    output_maps = {node for end in ends for node in network_outputs(end)[0] if node in maps}
    return output_maps if len(output_maps) > 1 else set()


def _neck_stride(spine: Spine, shape: FeatureMap) -> int:
    """Stride of a map: that of the spine's map of the same size, else the ratio to the input."""
    for node, other in spine.maps.items():
        if other.size == shape.size:
            return spine.strides[node]
    image = next(iter(spine.maps.values()))
    return max(1, round(max(image.height / shape.height, image.width / shape.width)))
