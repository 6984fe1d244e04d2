"""The two formats: which packages each needs, how it is written, and how it is run again."""

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
from bamsearch.export.exported import Format
from bamsearch.records import check_choice

Run = Callable[[Tensor], dict[str, Tensor]]
"""Runs a file on a batch: outputs by name."""

Write = Callable[[torch.export.ExportedProgram, Path, Sequence[str], dict[str, str]], int | None]
"""Writes a program to a path, with its outputs' names and metadata; returns ONNX's opset."""


def check_format(format: str) -> None:
    """Raise unless files of this format can be made and checked here.

    Raises:
        InvalidValueError: no such format.
        MissingExtraError: a package that it needs is not installed.
    """
    check_choice("format", format, get_args(Format))
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
        # a name for the axis; whether it is free is in the program
        dynamic_shapes=({0: "batch"},),
    )
    if made is None:
        raise ExportError("torch.onnx.export returned no program")
    made.model.metadata_props.update(metadata)
    made.save(path)
    return int(made.model.opset_imports[""])


def _reopen_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        values = session.run(names, {given.name: images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return run


def _write_pt2(
    program: torch.export.ExportedProgram,
    path: Path,
    names: Sequence[str],
    metadata: dict[str, str],
) -> None:
    # the program has the outputs' structure, and so their names, in it
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files=metadata)
    # Not by torch: its writer ends the process where the disk is full.
    path.write_bytes(archive.getbuffer())


def _reopen_pt2(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda images: by_name(module(images))


PACKAGES: dict[str, tuple[str, ...]] = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
WRITE: dict[str, Write] = {"onnx": _write_onnx, "pt2": _write_pt2}
REOPEN: dict[str, Callable[[Path], Run]] = {"onnx": _reopen_onnx, "pt2": _reopen_pt2}
