"""The two formats: required packages, writing, and running a written file."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from bamsearch.errors import ExportError, MissingExtraError
from bamsearch.export.comparison import by_name
from bamsearch.export.exported import ExportFormat
from bamsearch.records import check_choice

RunExport = Callable[[Tensor], dict[str, Tensor]]
"""Runs a file on a batch; returns outputs by name."""

Write = Callable[[torch.export.ExportedProgram, Path, Sequence[str], dict[str, str]], int | None]
"""Writes a program to a path, with output names and metadata; returns ONNX's opset."""


def check_format(format: str) -> None:
    """Check that files of this format can be written and verified.

    Raises:
        InvalidValueError: unknown format.
        MissingExtraError: a required package is not installed.
    """
    check_choice("format", format, get_args(ExportFormat))
    for package in PACKAGES[format]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "export")


def _write_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    names: Sequence[str],
    metadata: dict[str, str],
) -> int:
    (input_name,) = program.graph_signature.user_inputs
    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=[str(input_name)],
        output_names=list(names),
        # a name for the axis; the program determines whether it is dynamic
        dynamic_shapes=({0: "batch"},),
    )
    if made is None:
        raise ExportError("torch.onnx.export returned no program")
    made.model.metadata_props.update(metadata)
    made.save(path)
    return int(made.model.opset_imports[""])


def _reopen_onnx(path: Path) -> RunExport:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only, which are also raised
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (session_input,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        values = session.run(names, {session_input.name: images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return run


def _write_pt2(
    program: torch.export.ExportedProgram,
    path: Path,
    names: Sequence[str],
    metadata: dict[str, str],
) -> None:
    # the program contains the structure of the outputs, and so their names
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=metadata)
    # Not written by torch, which aborts the process if the disk is full.
    # The view is released even then: Python 3.12.1 crashes when it collects a BytesIO with a view.
    with archive.getbuffer() as content:
        path.write_bytes(content)


def _reopen_pt2(path: Path) -> RunExport:
    module = torch.export.load(path).module()
    return lambda images: by_name(module(images))


PACKAGES: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
WRITE: dict[str, Write] = {"onnx": _write_onnx, "pt2": _write_pt2}
REOPEN: dict[str, Callable[[Path], RunExport]] = {"onnx": _reopen_onnx, "pt2": _reopen_pt2}
