"""Compare the results of an exported file with those of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError
from bamsearch.export.exported import ExportFormat
from bamsearch.export.exporters import reason

TOLERANCE = 1e-4
"""Maximum difference, relative to the largest absolute value of the same output.

Correct exports in float32 differ by 1e-7 to 1e-5 of it; a lost or changed layer by far more.
Absolute limits are meaningless: an untrained network can return values around 1e-8.
"""


def random_inputs(shape: tuple[int, ...], batch: int) -> Tensor:
    """Reproducible random inputs; the caller's random state is preserved."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


def expected_outputs(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """PyTorch's outputs by name.

    Raises:
        ExportError: the network does not accept these inputs, or its outputs cannot be compared.
    """
    try:
        with torch.no_grad():
            outputs = network(inputs)
    except Exception as error:
        size = "×".join(map(str, inputs.shape))
        kind = type(network).__name__
        raise ExportError(f"{kind} does not accept an input of {size}: {reason(error)}") from error
    named = by_name(outputs)
    if not all(torch.isfinite(value).all() for value in named.values()):
        raise ExportError(
            "the network returns infinite values or NaN for a random input, which cannot be "
            "compared: use trained weights, or build the design with init identity"
        )
    return named


def by_name(outputs: Any, name: str = "") -> dict[str, Tensor]:
    """Tensors by name: ``output`` for a single one, a dict's keys, ``output_0`` in a list."""
    if isinstance(outputs, Tensor):
        return {name or "output": outputs}
    if isinstance(outputs, Mapping):
        # a pyramid's maps are called "0", "1", …, which need a prefix
        prefix = name or ("output" if any(str(key).isdigit() for key in outputs) else "")
        items = [(f"{prefix}_{key}" if prefix else str(key), part) for key, part in outputs.items()]
    elif isinstance(outputs, (list, tuple)):
        items = [(f"{name or 'output'}_{i}", part) for i, part in enumerate(outputs)]
    else:
        raise ExportError(f"a network that returns {type(outputs).__name__} cannot be exported")
    return {key: value for inner, part in items for key, value in by_name(part, inner).items()}


def output_differences(
    expected: dict[int, dict[str, Tensor]], got: dict[int, dict[str, Tensor]], format: ExportFormat
) -> tuple[float, float]:
    """The largest absolute and relative difference over all batches and outputs.

    Args:
        expected: PyTorch's outputs by batch size.
        got: the file's outputs by batch size.
        format: format of the file for messages.

    Raises:
        ExportError: they differ by more than :data:`TOLERANCE`, or in names or shapes.
    """
    absolute = relative = 0.0
    for batch, outputs in expected.items():
        shapes, shapes_got = _shapes(outputs), _shapes(got[batch])
        if shapes != shapes_got:
            raise ExportError(
                f"the {format} file returns {shapes_got} at batch {batch}, but PyTorch {shapes}: "
                "no file was written"
            )
        for name, value in outputs.items():
            abs_diff, rel_diff = _difference(value, got[batch][name])
            # "not <=" is also true for NaN
            if not rel_diff <= TOLERANCE:
                raise ExportError(
                    f"the results of the {format} file differ from PyTorch: {name} by "
                    f"{abs_diff:.3g} at batch {batch}, {rel_diff:.3g} of its largest value "
                    f"({TOLERANCE:g} allowed)"
                )
            absolute, relative = max(absolute, abs_diff), max(relative, rel_diff)
    return absolute, relative


def _shapes(outputs: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in outputs.items()}


def _difference(expected: Tensor, got: Tensor) -> tuple[float, float]:
    # in float64: outputs may be integers or booleans, and float32 would add rounding errors
    expected, got = expected.double(), got.double()
    difference = (expected - got).abs().max().item()
    largest = expected.abs().max().item()
    return difference, difference / largest if largest else difference
