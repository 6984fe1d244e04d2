"""The other counter: torch's ``FlopCounterMode`` on the meta device, in fvcore's unit.

``FlopCounterMode`` knows convolution, matrix products and attention and counts two for a
multiply-add; what it lacks (norms, resizing, adaptive pooling) is added to its table here, as
fvcore counts it, and everything is halved at the end. Nothing is computed: any
network takes about as long as its Python, under a second, and no memory.

It sees the operators that run, one level below those that fvcore sees. So it differs from fvcore
where a result is never used (fvcore's trace drops that work), in LSTM and GRU (fvcore does not
count them) and in InstanceNorm with running statistics (2 an element, fvcore says 5).
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


def count_on_meta(
    model: nn.Module, inputs: torch.Tensor
) -> tuple[int, dict[str, int], dict[str, int]]:
    """Count the multiply-adds of one forward pass.

    Args:
        model: in eval mode, on the meta device.
        inputs: what it is called with, on the meta device.

    Returns:
        Multiply-adds without norms and pooling; multiply-adds with them of each module by its
        dotted path, "" for the whole; operators that are not counted, with how often.
    """
    with FlopCounterMode(display=False) as flops, _Terms(flops) as terms, _AdaptivePools():
        model(inputs)
    counts = flops.get_flop_counts()
    whole = counts.get("Global", {})
    products = sum(flop for op, flop in whole.items() if op not in NORMS_AND_POOLS) // 2
    by_module = _by_module(model, {name: sum(ops.values()) // 2 for name, ops in counts.items()})
    return products, by_module | {"": sum(whole.values()) // 2}, dict(terms.uncounted)


def _by_module(model: nn.Module, counted: Mapping[str, int]) -> dict[str, int]:
    """Counts by dotted path, from counts by the tracker's names, such as ``ResNet.layer1.0``.

    A module that is never called, such as a ModuleList, has the sum of its children.
    """
    by_module: dict[str, int] = {}
    for path, module in reversed(list(model.named_modules())):
        children = (f"{path}.{name}".strip(".") for name, _ in module.named_children())
        inside = sum(by_module.get(child, 0) for child in children)
        by_module[path] = counted.get(f"{type(model).__name__}.{path}", inside)
    return by_module


class _Terms(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add to a FlopCounterMode's table what it lacks; note what nobody counts.

    It must be entered after the other, to see the operators before that takes them apart.
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
    """Dispatch adaptive average pooling under its own name.

    Pooling to a single value is dispatched as ``mean``, as every other mean is.
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
    new = [kept if size is None else size for kept, size in zip(old, sizes, strict=True)]
    if axes == 1:
        pooled: torch.Tensor = aten._adaptive_avg_pool2d(input.unsqueeze(-2), [1, *new])
        return pooled.squeeze(-2)
    pooled = (aten._adaptive_avg_pool2d if axes == 2 else aten._adaptive_avg_pool3d)(input, new)
    return pooled


def _elements(argument: int) -> Formula:
    """1 an element of argument number argument."""
    return lambda args, output: prod(args[argument].shape)


def _batch_norm(args: Sequence[Any], output: Any) -> int:
    """2 an element, 1 without affine; 5 and 4 where the batch's own statistics are taken."""
    weight, training = args[1], args[5]
    plain = 4 if training else 1
    return _elements(0)(args, output) * (plain if weight is None else plain + 1)


def _norm(weight: int) -> Formula:
    """5 an element, 4 without affine; the weight is argument number weight."""
    return lambda args, output: _elements(0)(args, output) * (4 if args[weight] is None else 5)


def _per_output(factor: int) -> Formula:
    """Factor an element of the output."""
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
"""Operator to fvcore's count of it; InstanceNorm is dispatched as a batch norm."""

VECTOR_PRODUCTS: Mapping[Any, Formula] = {
    aten.mv: _elements(0),
    aten.dot: _elements(0),
    aten.addmv: _elements(1),
}
"""The products that ``FlopCounterMode`` lacks."""

ADAPTIVE_POOLS: Mapping[Any, int] = {
    torch.nn.functional.adaptive_avg_pool1d: 1,
    torch.nn.functional.adaptive_avg_pool2d: 2,
    torch.nn.functional.adaptive_avg_pool3d: 3,
}
"""Function to the number of axes it pools."""

FREE = frozenset(
    {
        "arange",
        "bitwise_not",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy_",
        "detach",
        "empty",
        "empty_strided",
        "eq",
        "expand",
        "fill_",
        "full",
        "full_like",
        "gather",
        "ge",
        "gt",
        "index",
        "index_put_",
        "le",
        "lt",
        "masked_fill",
        "masked_fill_",
        "ne",
        "new_empty",
        "new_full",
        "new_zeros",
        "nonzero",
        "ones",
        "relu",
        "relu_",
        "repeat",
        "roll",
        "scalar_tensor",
        "stack",
        "_to_copy",
        "_unsafe_view",
        "zero_",
        "zeros",
        "zeros_like",
    }
)
"""Operators without arithmetic, besides views; rectifiers and comparisons as in fvcore's list."""
