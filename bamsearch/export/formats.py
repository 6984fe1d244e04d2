"""The two formats: required packages, writing, and running a written file."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.export import ExportedProgram

from bamsearch.errors import ExportError, MissingExtraError, OutputError, failure_text
from bamsearch.records import check_choice

ExportFormat = Literal["onnx", "pt2"]

RunExport = Callable[[Tensor], dict[str, Tensor]]
"""Runs a file on a batch; returns outputs by name."""

Write = Callable[[ExportedProgram, Path, Sequence[str], dict[str, str]], int | None]
"""Writes a program to a path, with output names and metadata; returns ONNX's opset."""


def check_format(format: str) -> None:
    """Check that files of this format can be written and verified."""
    check_choice("format", format, get_args(ExportFormat))
    for package in PACKAGES[format]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "export")


def _write_onnx(
    program: ExportedProgram, path: Path, names: Sequence[str], metadata: dict[str, str]
) -> int:
    (input_name,) = program.graph_signature.user_inputs
    onnx_program = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=[str(input_name)],
        output_names=list(names),
        # a name for the axis; the program determines whether it is dynamic
        dynamic_shapes=({0: "batch"},),
    )
    if onnx_program is None:
        raise ExportError("torch.onnx.export returned no program")
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path)
    return int(onnx_program.model.opset_imports[""])


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
    program: ExportedProgram, path: Path, names: Sequence[str], metadata: dict[str, str]
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


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch and onnx.

    Their warnings, such as deprecations of internal functions, depend on the version, and users
    cannot act on them. The correctness of the file is measured, and errors contain what is logged
    before them.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        # torch prints graphs that it could not follow instead of logging them
        silent = io.StringIO()
        with redirect_stdout(silent), redirect_stderr(silent), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(torch|onnx|copyreg|bamsearch\.export)")
            # Attributes that forward stores are not exported; the warning names wrong modules.
            warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def one_line_failures(format: ExportFormat) -> Iterator[None]:
    """Convert any error of an exporter to a one-line error with the reason."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        raise OutputError(f"the {format} file cannot be written: {error}") from error
    except Exception as error:
        raise ExportError(f"{format} export failed: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of the innermost cause, which torch.onnx wraps in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return failure_text(error)[:300]
