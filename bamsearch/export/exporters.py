"""Reduce the output and errors of torch's and onnx's exporters to what users can act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from bamsearch.errors import ExportError, OutputError
from bamsearch.export.exported import ExportFormat


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
        with (
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", module=r"(torch|onnx|copyreg|bamsearch\.export)")
            # Attributes that forward stores are not exported; the warning names wrong modules.
            warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def one_line_failures(format: ExportFormat) -> Iterator[None]:
    """Convert any error of an exporter to a one-line error with the reason.

    Raises:
        ExportError: any error of the exporter.
        OutputError: the file cannot be written.
    """
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
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
