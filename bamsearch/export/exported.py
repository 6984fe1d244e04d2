"""The record of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ExportFormat = Literal["onnx", "pt2"]


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported file, and its difference from PyTorch.

    Attributes:
        path: the file; None if nothing was written.
        format: ``onnx`` or ``pt2``.
        files: all files, starting with path: ONNX above 1.5 GB stores its weights separately.
        size: total size of the files in bytes.
        input_name: name of the input: ``image``, or ``clip`` for video.
        input_shape: shape of one input without the batch.
        outputs: shapes of the outputs without the batch, by name.
        batch: the fixed batch size; None for a dynamic batch.
        note: reason why the batch is fixed although a dynamic one was requested; else None.
        opset: version of ONNX's operators; None for pt2.
        compared_at: the batch sizes at which file and network were compared.
        max_abs_diff: largest absolute difference of an output value, in the unit of the output.
        max_rel_diff: largest difference of an output relative to its largest absolute value; at
            most :data:`bamsearch.export.comparison.TOLERANCE`.
    """

    path: Path | None
    format: ExportFormat
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
        """Whether the file accepts any batch size."""
        return self.batch is None
