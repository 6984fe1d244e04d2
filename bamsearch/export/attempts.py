"""Export with a dynamic batch if possible, else with a fixed one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from bamsearch.errors import ExportError
from bamsearch.export.comparison import expected_outputs, output_differences, random_inputs
from bamsearch.export.exported import Exported, ExportFormat
from bamsearch.export.exporters import one_line_failures, quiet
from bamsearch.export.formats import REOPEN, WRITE
from bamsearch.export.one_input import input_name


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export, without its batch size, in which attempts differ.

    Attributes:
        network: the network with a single named input, in eval mode.
        input_shape: shape of one input without the batch.
        format: ``onnx`` or ``pt2``.
        draft: the file to write, alone in its folder.
        metadata: texts to store in the file by name.
    """

    network: nn.Module
    input_shape: tuple[int, ...]
    format: ExportFormat
    draft: Path
    metadata: dict[str, str]


def attempt(job: ExportJob, batch: int | None) -> Exported:
    """Export with a fixed batch if one is given, else with a dynamic one, or 1 if that fails.

    Wrong results count as failures: a network that behaves differently for a batch of one exports
    without an error, because torch.export assumes that dynamic sizes are larger than one.

    Raises:
        ExportError: the exporter refuses the network, or the results differ.
        OutputError: the draft cannot be written.
    """
    # failures of the network itself must not be attributed to a format
    expected_outputs(job.network, random_inputs(job.input_shape, batch or 1))
    try:
        return _attempt_at(job, batch)
    except ExportError as error:
        if batch is None:
            with suppress(ExportError):
                return replace(_attempt_at(job, 1), note=str(error))
        # the first error: failures with a fixed batch too do not depend on the batch
        other = "pt2" if job.format == "onnx" else "onnx"
        raise ExportError(f"{error}; no file was written, format {other} may work") from error


def _attempt_at(job: ExportJob, batch: int | None) -> Exported:
    """Write the draft and compare it, with a fixed or (None) a dynamic batch."""
    batches = (1, 2) if batch is None else (batch,)
    # A batch of 2, because 1 would be treated as a constant.
    inputs = random_inputs(job.input_shape, max(batches))
    expected = {n: expected_outputs(job.network, inputs[:n]) for n in batches}
    outputs = expected[batches[0]]
    with torch.no_grad(), quiet(), one_line_failures(job.format):
        program = _program(job.network, inputs, dynamic=batch is None)
        opset = WRITE[job.format](program, job.draft, [*outputs], job.metadata)
        run = REOPEN[job.format](job.draft)
        got = {n: run(inputs[:n]) for n in batches}
    absolute, relative = output_differences(expected, got, job.format)
    # the main file has the shortest name
    files = tuple(sorted(job.draft.parent.iterdir(), key=lambda file: len(file.name)))
    return Exported(
        path=None,
        format=job.format,
        files=files,
        size=sum(file.stat().st_size for file in files),
        input_name=input_name(job.input_shape),
        input_shape=job.input_shape,
        outputs={name: tuple(value.shape[1:]) for name, value in outputs.items()},
        batch=batch,
        note=None,
        opset=opset,
        compared_at=batches,
        max_abs_diff=absolute,
        max_rel_diff=relative,
    )


def _program(network: nn.Module, inputs: Tensor, *, dynamic: bool) -> torch.export.ExportedProgram:
    free = torch.export.Dim("batch", min=1)
    shapes = ({0: free},) if dynamic else None
    return torch.export.export(network, (inputs,), dynamic_shapes=shapes, strict=False)
