"""The record of one export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["onnx", "pt2"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how near it is to PyTorch.

    Attributes:
        path: the file; None where nothing was to be kept.
        format: ``onnx`` or ``pt2``.
        files: all files, the first of them path: ONNX above 1.5 GB has its weights in another.
        size: bytes of all files together.
        input_name: what the input is called: ``image``, or ``clip`` for video.
        input_shape: one input without the batch.
        outputs: name to shape without the batch.
        batch: the only batch that the file takes; None takes any.
        note: why the batch is fixed although any was asked for; else None.
        opset: version of ONNX's operators; None for pt2.
        compared_at: the batches at which file and network were compared.
        max_abs_diff: largest absolute difference of an output's value, in its own unit.
        max_rel_diff: the largest difference of an output over that output's largest absolute value;
            at most :data:`bamsearch.export.comparison.TOLERANCE`.
    """

    path: Path | None
    format: Format
    files: tuple[Path, ...]
    size: int
    input_name: str
    input_shape: tuple[int, ...]
    outputs: Mapping[str, tuple[int, ...]]
    batch: int | None
    note: str | None
    opset: int | None
    compared_at: tuple[int, ...]
    max_abs_diff: float
    max_rel_diff: float

    @property
    def dynamic_batch(self) -> bool:
        """Whether the file takes any batch."""
        return self.batch is None
