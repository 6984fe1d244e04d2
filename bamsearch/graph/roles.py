"""Roles of the axes of feature maps, determined by probing.

The graph runs on a meta copy with the base input, then with the batch, the height, the width (and
the frames of a clip) changed one at a time. An axis that changes with H has the role H; the axis
that never changes is the channel. This distinguishes NCHW, NHWC, video, token and window layouts
without heuristics. Networks of fixed size reject other inputs: their layouts follow from the axes
of convolution, batch norm and pooling layers, propagated through elementwise operations and
permutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from bamsearch.errors import ModelError, first_line
from bamsearch.graph.tracing.example import tensors_in
from bamsearch.graph.tracing.recording import Recording, Shape
from bamsearch.graph.tracing.tracer import Trace, target_name
from bamsearch.records import Layout
from bamsearch.text import size_text

_BATCH = 2
# Large enough to change the smallest map of a network with stride 128, also in depth.
_STEP = 128

_CONVOLUTIONS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm)
_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_POOLING = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
_CONVOLUTION_FUNCTIONS = frozenset({F.conv2d, F.conv3d, F.batch_norm, F.interpolate})
_POOLING_FUNCTIONS = frozenset(
    {
        F.max_pool2d,
        F.max_pool3d,
        F.avg_pool2d,
        F.avg_pool3d,
        F.adaptive_avg_pool2d,
        F.adaptive_avg_pool3d,
        torch.max_pool2d,
        torch.max_pool3d,
    }
)
# These may keep the shape but change the axes.
_REARRANGING = frozenset(
    {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim", "swapaxes", "T"}
)


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The shape of a node's output with named axes.

    Attributes:
        layout: order of the axes.
        frames: T of a video map, else None.
    """

    channels: int
    height: int
    width: int
    layout: Layout
    frames: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class Probed:
    """Roles of the nodes of a trace.

    Attributes:
        maps: nodes whose output is a feature map, in graph order.
        tokens: nodes whose output is a sequence (N, L, C).
        data: nodes whose output is or contains a tensor; others output sizes.
    """

    maps: dict[fx.Node, FeatureMap]
    tokens: set[fx.Node]
    data: set[fx.Node]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of the nodes in one run.

    Attributes:
        shapes: shape of each node's output, if it is a tensor.
        data: nodes whose output is or contains a tensor.
    """

    shapes: dict[fx.Node, Shape]
    data: set[fx.Node]


def probe(
    trace: Trace,
    network_input: Sequence[int],
    base: Outputs,
    recording: Recording | None = None,
) -> Probed:
    """Find the feature maps of a trace."""
    shapes = base.shapes
    batch = _BATCH if recording is None else len(recording.example.image)
    base_shape = (batch, *network_input)
    probes: dict[str, dict[fx.Node, Shape]] = {}
    for axis, role in enumerate("NCHW" if len(network_input) == 3 else "NCTHW"):
        if role != "C":
            step = 1 if role == "N" else _STEP
            moved = tuple(size + step * (axis == i) for i, size in enumerate(base_shape))
            probes[role] = recording.again(moved) if recording else _run(trace, moved)[0].shapes
    layouts = {node: _probed_layout(shape, node, probes) for node, shape in shapes.items()}
    if _resized_at_the_start(trace, shapes, layouts):
        layouts = {node: None if _is_still(roles) else roles for node, roles in layouts.items()}
    _carry_definitions(trace, shapes, layouts)
    maps = {
        node: _feature_map(shapes[node], cast(Layout, layout))
        for node, layout in layouts.items()
        if layout in get_args(Layout)
    }
    return Probed(maps, {node for node, shape in shapes.items() if len(shape) == 3}, base.data)


def is_pooling(trace: Trace, node: fx.Node) -> bool:
    """Whether the node pools: a pooling layer or function, or a mean."""
    layer = trace.layer(node)
    if layer is not None:
        return isinstance(layer, _POOLING)
    return node.target in _POOLING_FUNCTIONS or node.target in ("mean", torch.mean)


class _OutputRecorder(fx.Interpreter):
    """Runs a graph and records the outputs of its nodes."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(trace.root, graph=trace.graph)
        self.extra_traceback = False
        self.outputs = Outputs({}, set())

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if next(tensors_in(result), None) is not None:
            self.outputs.data.add(n)
        if isinstance(result, torch.Tensor) and n.op != "output":
            self.outputs.shapes[n] = tuple(result.shape)
        return result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # On the meta device torch runs batch norm in Python, which takes most of the time.
        module = self.fetch_attr(target)
        is_plain = type(module) in _BATCH_NORMS and "forward" not in vars(module)
        if is_plain and not kwargs and args[0].device.type == "meta":
            module._check_input_dim(args[0])
            if args[0].shape[1] == module.num_features:
                return torch.empty_like(args[0])
        return super().call_module(target, args, kwargs)

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        # Convert fx's immutable lists: Swin3d modifies its argument.
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return tuple(list(a) if isinstance(a, list) else a for a in args), kwargs


def run_trace(trace: Trace, network_input: Sequence[int]) -> Outputs:
    """Run a symbolic trace on the meta device, or with fake tensors if that fails.

    Fake tensors are slower; they support graphs with tensors from another device.
    """
    shape = (_BATCH, *network_input)
    outputs, failure = _run(trace, shape)
    if failure is None:
        return outputs
    with FakeTensorMode(allow_non_fake_inputs=True):
        outputs, failure_of_fakes = _run(trace, shape)
    if failure_of_fakes is None:
        return outputs
    raise ModelError(
        f"{type(trace.root).__name__} does not accept an input of {size_text(network_input)}: "
        f"{first_line(failure)}"
    )


def _run(trace: Trace, shape: Shape) -> tuple[Outputs, Exception | None]:
    """Run a trace on the meta device; return its outputs up to a failure, and the failure."""
    recorder = _OutputRecorder(trace)
    try:
        with torch.no_grad():
            recorder.run(torch.empty(shape, device="meta"))
    except Exception as error:
        return recorder.outputs, error
    return recorder.outputs, None


def _probed_layout(
    shape: Shape, node: fx.Node, probes: dict[str, dict[fx.Node, Shape]]
) -> str | None:
    """Axis roles such as "NHWC"; None if a probe did not reach this node."""
    moved = {role: shapes.get(node) for role, shapes in probes.items()}
    if any(other is None or len(other) != len(shape) for other in moved.values()):
        return None
    roles = [
        [role for role, other in moved.items() if other and other[axis] != shape[axis]] or ["C"]
        for axis in range(len(shape))
    ]
    # "": not a feature map, but tokens, or windows folded into the batch.
    return "".join(role[0] for role in roles) if all(len(role) == 1 for role in roles) else ""


def _resized_at_the_start(
    trace: Trace, shapes: dict[fx.Node, Shape], layouts: dict[fx.Node, str | None]
) -> bool:
    """Whether the image is resized to a fixed size before the first layer, which defeats probes."""
    first = next((node for node in shapes if _defines_axes(trace, node)), None)
    return first is not None and _is_still(layouts[first])


def _is_still(layout: str | None) -> bool:
    """Whether only the batch changes."""
    return layout is not None and layout.startswith("NCCC") and set(layout) == {"N", "C"}


def _carry_definitions(
    trace: Trace, shapes: dict[fx.Node, Shape], layouts: dict[fx.Node, str | None]
) -> None:
    """Fill unknown layouts in graph order, starting from layers that define their axes."""
    last: tuple[Shape, str] | None = None  # the map filled in last
    for node in trace.graph.nodes:
        source = node.all_input_nodes[0] if node.all_input_nodes else None
        if node not in shapes or source is None:
            continue
        if _defines_axes(trace, node):
            for end in (source, node):
                if layouts.get(end, "") is None:
                    layouts[end] = {4: "NCHW", 5: "NCTHW"}.get(len(shapes[end]))
        elif layouts[node] is None:
            if layouts.get(source):
                layouts[node] = _carried(trace, node, str(layouts[source]), shapes)
            if layouts[node] is None and last is not None:
                layouts[node] = _restored(shapes[node], *last)
        else:
            continue
        if layouts[node]:
            last = shapes[node], str(layouts[node])


def _carried(trace: Trace, node: fx.Node, layout: str, shapes: dict[fx.Node, Shape]) -> str | None:
    """The layout of node, derived from its input's."""
    name = target_name(node)
    if name == "permute":
        order = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
        return "".join(layout[cast(int, axis)] for axis in cast(Sequence[Any], order))
    if isinstance(trace.layer(node), nn.Linear):
        return layout if layout.endswith("C") else None
    if name in _REARRANGING or shapes[node] != shapes[node.all_input_nodes[0]]:
        return None
    return layout


def _restored(shape: Shape, before: Shape, layout: str) -> str | None:
    """The layout of a map built from tokens or pixels, if it matches the map before.

    It matches with the same shape (tokens rearranged) or with space moved to channels (patches
    merged).
    """
    if shape == before:
        return layout
    if layout not in ("NHWC", "NCHW") or len(shape) != 4 or shape[0] != before[0]:
        return None
    old, new = (dict(zip(layout, sizes, strict=True)) for sizes in (before, shape))
    factor = old["H"] // new["H"]
    merged = {**old, "H": new["H"] * factor, "W": new["W"] * factor} == old
    return layout if merged and factor > 1 and new["C"] == old["C"] * factor**2 else None


def _defines_axes(trace: Trace, node: fx.Node) -> bool:
    functions = _CONVOLUTION_FUNCTIONS | _POOLING_FUNCTIONS
    return node.target in functions or isinstance(trace.layer(node), _CONVOLUTIONS + _POOLING)


def _feature_map(shape: Shape, layout: Layout) -> FeatureMap:
    size = dict(zip(layout, shape, strict=True))
    return FeatureMap(size["C"], size["H"], size["W"], layout, size.get("T"))
