"""Sizes of feature maps without explicit padding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn import functional as F

from bamsearch.graph.roles import FeatureMap
from bamsearch.graph.tracing.tracer import Trace

# Smaller ratios, as in Inception's valid convolutions (111 -> 109), are not reductions.
REDUCTION = 1.5
_PADS = frozenset({F.pad, torch._C._nn.pad, torch.constant_pad_nd, "pad"})


class Sizes:
    """Heights and widths of feature maps without explicit padding.

    A padded map, such as 7 -> 11 for a valid 5x5 convolution, counts with its size before padding,
    as do all maps derived from it until the next convolution.
    """

    def __init__(
        self, traced: Trace, maps: Mapping[fx.Node, FeatureMap], weighted: set[fx.Node]
    ) -> None:
        self._traced = traced
        self._maps = maps
        self._weighted = weighted
        self._padded: dict[fx.Node, fx.Node] = {}  # padded map → map before padding

    def add(self, node: fx.Node, before: fx.Node | None) -> bool:
        """Add a map and the map before it; return whether the step is a reduction."""
        if before is None:
            return False
        old, new = self._maps[before], self._maps[node]
        grows = new.height >= old.height and new.width >= old.width
        same = (new.height, new.width) == (old.height, old.width)
        unpadded = same and before in self._padded and node not in self._weighted
        if unpadded or (grows and not same and _pads(self._traced, node)):
            self._padded[node] = self.solid(before)
        return self.ratio(before, node) >= REDUCTION

    def solid(self, node: fx.Node) -> fx.Node:
        """The map before padding; node itself if it is not padded."""
        return self._padded.get(node, node)

    def ratio(self, before: fx.Node, after: fx.Node) -> float:
        """Factor by which H or W shrinks, whichever is larger."""
        old, new = (self._maps[self.solid(node)] for node in (before, after))
        return max(old.height / new.height, old.width / new.width)


def _pads(traced: Trace, node: fx.Node) -> bool:
    """Whether node is padding, or a convolution, which may pad more than its kernel needs."""
    if node.op != "call_module":
        return node.target in _PADS
    module = traced.root.get_submodule(str(node.target))
    convolves = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return convolves or any(
        cls.__module__ == nn.modules.padding.__name__ for cls in type(module).__mro__
    )
