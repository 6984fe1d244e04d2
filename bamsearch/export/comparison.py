"""Compare the results of an exported file with those of PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError
from bamsearch.export.formats import ExportFormat, by_name, reason

TOLERANCE = 1e-4
"""Maximum difference, relative to the largest absolute value of the same output.

Correct exports in float32 differ by 1e-7 to 1e-5 of it; a lost or changed layer by far more.
Absolute limits are meaningless: an untrained network can return values around 1e-8.
"""


def random_inputs(shape: tuple[int, ...], batch: int) -> Tensor:
    """Reproducible random inputs; the caller's random state is preserved."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))


def expected_outputs(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """PyTorch's outputs by name."""
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


def output_differences(
    expected: dict[int, dict[str, Tensor]], got: dict[int, dict[str, Tensor]], format: ExportFormat
) -> tuple[float, float]:
    """The largest absolute and relative difference over all batches and outputs."""
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
