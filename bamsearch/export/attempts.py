"""Write a draft of the exported file, compare it with PyTorch, and rename it to its target.

The batch is dynamic if possible, else fixed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from bamsearch.errors import ExportError, OutputError
from bamsearch.export.comparison import expected_outputs, output_differences, random_inputs
from bamsearch.export.formats import REOPEN, WRITE, ExportFormat, one_line_failures, quiet
from bamsearch.files import check_output_file, draft_folder, sync_files, sync_folder, written
from bamsearch.records import Design
from bamsearch.text import is_utf8


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
        design: the design that is stored in the file, if any.
        weights: file of the weights; None if they are random, or for a network in memory.
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
    design: Design | None = None
    weights: Path | None = None

    @property
    def dynamic_batch(self) -> bool:
        """Whether the file accepts any batch size."""
        return self.batch is None


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export, without its batch size, in which attempts differ.

    Attributes:
        network: the network with a single named input, in eval mode.
        input_name: name of its input.
        input_shape: shape of one input without the batch.
        format: ``onnx`` or ``pt2``.
        draft: the file to write, alone in its folder.
        metadata: texts to store in the file by name.
    """

    network: nn.Module
    input_name: str
    input_shape: tuple[int, ...]
    format: ExportFormat
    draft: Path
    metadata: dict[str, str]


def attempt(job: ExportJob, batch: int | None) -> Exported:
    """Export with a fixed batch if one is given, else with a dynamic one, or 1 if that fails.

    Wrong results count as failures: a network that behaves differently for a batch of one exports
    without an error, because torch.export assumes that dynamic sizes are larger than one.
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
        shapes = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
        program = torch.export.export(job.network, (inputs,), dynamic_shapes=shapes, strict=False)
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
        input_name=job.input_name,
        input_shape=job.input_shape,
        outputs={name: tuple(value.shape[1:]) for name, value in outputs.items()},
        batch=batch,
        note=None,
        opset=opset,
        compared_at=batches,
        max_abs_diff=absolute,
        max_rel_diff=relative,
    )


@contextmanager
def drafted(target: Path | None, format: ExportFormat) -> Iterator[Path]:
    """A draft file in a separate temporary folder on the target's disk."""
    if target is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / f"trial.{format}"
        return
    if not is_utf8(str(target.absolute())):
        # torch would abort the process.
        raise OutputError(f"{target} is not UTF-8: choose another path")
    parent = next(folder for folder in target.absolute().parents if folder.exists())
    with ExitStack() as stack:
        with written(target):
            draft = stack.enter_context(draft_folder(parent / target.name))
        yield draft / target.name


def keep(exported: Exported, target: Path, force: bool) -> Exported:
    """Rename the drafts to their targets."""
    targets = tuple(target.with_name(file.name) for file in exported.files)
    for path in targets:
        check_output_file(path, force=force)
    with written(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_files(exported.files[0].parent)
        # the main file last, so that it never exists without its weights
        for draft, path in reversed([*zip(exported.files, targets, strict=True)]):
            os.replace(draft, path)
        sync_folder(target.parent)
    return replace(exported, path=target, files=targets)
