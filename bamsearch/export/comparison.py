"""Does a file compute what PyTorch does?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError
from bamsearch.export.exported import Format
from bamsearch.export.exporters import reason

TOLERANCE = 1e-4
"""Largest difference allowed, as a part of the largest value of the same output.

Sound exports in float32 differ by 1e-7 to 1e-5 of it; a lost or changed layer by far more. Absolute
limits say nothing here: an untrained network can return values around 1e-8.
"""


def random_inputs(shape: tuple[int, ...], batch: int) -> Tensor:
    """The same random inputs every time; the random state is the caller's and stays."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


def reference(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What PyTorch computes.

    Raises:
        ExportError: the network does not take such inputs, or nothing can be compared with what it
            returns.
    """
    try:
        with torch.no_grad():
            outputs = network(inputs)
    except Exception as error:
        size = "×".join(map(str, inputs.shape))
        kind = type(network).__name__
        raise ExportError(f"{kind} does not take an input of {size}: {reason(error)}") from error
    named = by_name(outputs)
    if not all(torch.isfinite(value).all() for value in named.values()):
        raise ExportError(
            "the network returns infinite values or NaN for a random input, so that nothing can be "
            "compared: give trained weights, or build the design with init identity"
        )
    return named


def by_name(outputs: Any, name: str = "") -> dict[str, Tensor]:
    """Tensors by name: ``output`` for a single one, a dict's keys, ``output_0`` in a list."""
    if isinstance(outputs, Tensor):
        return {name or "output": outputs}
    if isinstance(outputs, Mapping):
        # a pyramid's maps are called "0", "1", …: no names on their own
        prefix = name or ("output" if any(str(key).isdigit() for key in outputs) else "")
        items = [(f"{prefix}_{key}" if prefix else str(key), part) for key, part in outputs.items()]
    elif isinstance(outputs, (list, tuple)):
        items = [(f"{name or 'output'}_{i}", part) for i, part in enumerate(outputs)]
    else:
        raise ExportError(f"a network that returns {type(outputs).__name__} cannot be exported")
    return {key: value for inner, part in items for key, value in by_name(part, inner).items()}


def differences(
    expected: dict[int, dict[str, Tensor]], got: dict[int, dict[str, Tensor]], format: Format
) -> tuple[float, float]:
    """The largest absolute and relative difference over all batches and outputs.

    Args:
        expected: batch → what PyTorch computes.
        got: batch → what the file computes.
        format: what to call the file in errors.

    Raises:
        ExportError: they differ by more than :data:`TOLERANCE`, or in names or shapes.
    """
    absolute = relative = 0.0
    for batch, outputs in expected.items():
        shapes, shapes_got = _shapes(outputs), _shapes(got[batch])
        if shapes != shapes_got:
            raise ExportError(
                f"the {format} file returns {shapes_got} at batch {batch}, PyTorch {shapes}: "
                "nothing is written"
            )
        for name, value in outputs.items():
            apart, part = _difference(value, got[batch][name])
            # "not <=" holds for NaN too
            if not part <= TOLERANCE:
                raise ExportError(
                    f"the {format} file computes something else than PyTorch: {name} differs by "
                    f"{apart:.3g} at batch {batch}, {part:.3g} of its largest value "
                    f"({TOLERANCE:g} allowed)"
                )
            absolute, relative = max(absolute, apart), max(relative, part)
    return absolute, relative


def _shapes(outputs: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in outputs.items()}


def _difference(expected: Tensor, got: Tensor) -> tuple[float, float]:
    # in float64: integers and booleans can be outputs too, and float32 rounds once more
    expected, got = expected.double(), got.double()
    apart = (expected - got).abs().max().item()
    largest = expected.abs().max().item()
    return apart, apart / largest if largest else apart
