"""Counter based on torch's ``FlopCounterMode`` on the meta device, in fvcore's unit.

``FlopCounterMode`` covers convolution, matrix products and attention, and counts two per
multiply-add; missing operators (norms, resizing, adaptive pooling) are added here with fvcore's
counts, and everything is halved at the end. Nothing is computed, so counting takes under a second
and no memory for any network.

It sees the operators that run, one level below those of fvcore. So it differs from fvcore for
results that are never used (fvcore's trace drops them), LSTM and GRU (not counted by fvcore) and
InstanceNorm with running statistics (2 per element here, 5 in fvcore).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

Formula = Callable[[Sequence[Any], Any], int]
"""Multiply-adds from an operator's arguments and its output."""


Counts = tuple[int, int, dict[str, int], dict[str, int]]
"""Multiply-adds; those without norms and pooling; the multiply-adds by dotted path of the module,
"" for the whole; numbers of calls of uncounted operators."""


def count_on_meta(model: nn.Module, inputs: torch.Tensor) -> Counts:
    """Count the multiply-adds of one forward pass.

    Args:
        model: the network in eval mode, on the meta device.
        inputs: its input, on the meta device.
    """
    with FlopCounterMode(display=False) as flops, _Terms(flops) as terms, _AdaptivePools():
        model(inputs)
    counts = flops.get_flop_counts()
    whole = counts.get("Global", {})
    products = sum(flop for op, flop in whole.items() if op not in NORMS_AND_POOLS) // 2
    total = sum(whole.values()) // 2
    by_module = _by_module(model, {name: sum(ops.values()) // 2 for name, ops in counts.items()})
    return total, products, by_module | {"": total}, dict(terms.uncounted)


def _by_module(model: nn.Module, counted: Mapping[str, int]) -> dict[str, int]:
    """Counts by dotted path, from counts by the tracker's names, such as ``ResNet.layer1.0``.

    Modules that are never called, such as ModuleLists, get the sum of their children.
    """
    by_module: dict[str, int] = {}
    for path, module in reversed(list(model.named_modules())):
        children = (f"{path}.{name}".strip(".") for name, _ in module.named_children())
        inside = sum(by_module.get(child, 0) for child in children)
        by_module[path] = counted.get(f"{type(model).__name__}.{path}", inside)
    return by_module


class _Terms(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add missing operators to the table of a FlopCounterMode, and collect uncounted ones.

    Enter this mode after the FlopCounterMode, to see operators before it decomposes them.
    """

    def __init__(self, flops: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = flops
        self.uncounted: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        whole = self.flops.flop_counts["Global"]
        before = sum(whole.values())
        output = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        formula = NORMS_AND_POOLS.get(operator) or VECTOR_PRODUCTS.get(operator)
        if formula is not None:
            for module in set(self.flops.mod_tracker.parents):
                self.flops.flop_counts[module][operator] += 2 * formula(args, output)
        elif not (sum(whole.values()) > before or func.is_view or operator.__name__ in FREE):
            self.uncounted[f"{func.namespace}::{operator.__name__}"] += 1
        return output


class _AdaptivePools(TorchFunctionMode):
    """Dispatch adaptive average pooling as a separate operator.

    By default, pooling to a single value is dispatched as ``mean``, like any other mean.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in ADAPTIVE_POOLS:
            return _pool(ADAPTIVE_POOLS[func], *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _pool(axes: int, input: torch.Tensor, output_size: Any) -> torch.Tensor:
    """Adaptive average pooling of the last axes to output_size, as one operator."""
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    old = input.shape[-axes:]
    new = [before if size is None else size for before, size in zip(old, sizes, strict=True)]
    if axes == 1:
        pooled: torch.Tensor = aten._adaptive_avg_pool2d(input.unsqueeze(-2), [1, *new])
        return pooled.squeeze(-2)
    pooled = (aten._adaptive_avg_pool2d if axes == 2 else aten._adaptive_avg_pool3d)(input, new)
    return pooled


def _elements(argument: int) -> Formula:
    """1 per element of the argument at this index."""
    return lambda args, output: prod(args[argument].shape)


def _norm(weight: int) -> Formula:
    """5 per element, 4 without affine; weight is the index of the weight argument."""
    return lambda args, output: prod(args[0].shape) * (4 if args[weight] is None else 5)


def _batch_norm(args: Sequence[Any], output: Any) -> int:
    """2 per element, 1 without affine; with batch statistics as the other norms."""
    training = args[5]
    return _norm(1)(args, output) - (0 if training else 3 * prod(args[0].shape))


def _per_output(factor: int) -> Formula:
    """Factor per output element."""
    return lambda args, output: factor * prod(output.shape)


NORMS_AND_POOLS: Mapping[Any, Formula] = {
    aten.native_batch_norm: _batch_norm,
    aten.native_group_norm: _norm(1),
    aten.native_layer_norm: _norm(2),
    aten._adaptive_avg_pool2d: _elements(0),
    aten._adaptive_avg_pool3d: _elements(0),
    aten.upsample_nearest2d: _per_output(1),
    aten.upsample_bilinear2d: _per_output(4),
    aten.grid_sampler_2d: _per_output(4),
    aten.grid_sampler_3d: _per_output(4),
}
"""fvcore's counts by operator; InstanceNorm is dispatched as a batch norm."""

VECTOR_PRODUCTS: Mapping[Any, Formula] = {
    aten.mv: _elements(0),
    aten.dot: _elements(0),
    aten.addmv: _elements(1),
}
"""Products missing from ``FlopCounterMode``."""

ADAPTIVE_POOLS: Mapping[Any, int] = {
    torch.nn.functional.adaptive_avg_pool1d: 1,
    torch.nn.functional.adaptive_avg_pool2d: 2,
    torch.nn.functional.adaptive_avg_pool3d: 3,
}
"""Number of pooled axes by function."""

FREE = frozenset(
    (
        *("arange", "empty", "empty_strided", "full", "full_like", "new_empty", "new_full"),
        *("new_zeros", "ones", "scalar_tensor", "zero_", "zeros", "zeros_like", "fill_"),
        *("_to_copy", "_unsafe_view", "cat", "clone", "constant_pad_nd", "copy_", "detach"),
        *("expand", "gather", "index", "index_put_", "masked_fill", "masked_fill_", "nonzero"),
        *("repeat", "roll", "stack"),
        *("bitwise_not", "eq", "ge", "gt", "le", "lt", "ne", "relu", "relu_"),
    )
)
"""Operators without arithmetic, besides views; ReLUs and comparisons follow fvcore's list."""
