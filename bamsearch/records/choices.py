"""Literal types of the records, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from bamsearch.errors import InvalidValueError

Kind = Literal["stem", "bottleneck", "head", "block", "neck"]
Layout = Literal["NCHW", "NHWC", "NCTHW", "NTHWC"]
Variant = Literal["paper", "official"]
Init = Literal["paper", "identity"]
How = Literal["auto", "rewrite", "attach"]
"""How BAM is inserted, see :func:`bamsearch.insert_bam`."""

DType = Literal["float32", "bfloat16", "float16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Mode = Literal["eager", "compile", "cudagraph"]
Objective = Literal["score", "gflops", "params", "ms"]
BaselineKind = Literal["base", "paper", "largest", "random"]
"""Baselines of a search."""

InputShape = Sequence[int] | int
"""(C, H, W), or (C, T, H, W) for video, without the batch; 64 is (3, 64, 64)."""

Role = Literal["base", "paper", "largest", "random", "found"]
"""A baseline, or ``found``: the best design."""


def check_positive(name: str, value: object) -> int:
    """Return value if it is an integer of at least 1, else raise InvalidValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InvalidValueError unless value is one of choices."""
    if value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_input_shape(shape: Any) -> tuple[int, ...]:
    """Return an :data:`InputShape` as a tuple, or raise InvalidValueError."""
    if isinstance(shape, int):
        shape = (3, shape, shape)
    try:
        checked = tuple(check_positive("each size in input_shape", size) for size in shape)
    except TypeError:
        raise InvalidValueError(f"input_shape must be (C, H, W), not {shape!r}") from None
    if len(checked) not in (3, 4):
        raise InvalidValueError(
            f"input_shape must be (C, H, W) or (C, T, H, W) without the batch, not {checked}"
        )
    return checked


def check_input_size(size: Any) -> tuple[int, int]:
    """Return (H, W), or one number for both, as a tuple, or raise InvalidValueError."""
    sizes = [size, size] if isinstance(size, int) else [*size]
    if len(sizes) != 2:
        raise InvalidValueError(f"input_size must be (H, W), or one number for both, not {size!r}")
    height, width = (check_positive("each size in input_size", each) for each in sizes)
    return height, width
