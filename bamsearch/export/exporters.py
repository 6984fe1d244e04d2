"""What the exporters of torch and onnx print and raise, cut down to what a user can act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from bamsearch.errors import ExportError, OutputError
from bamsearch.export.exported import Format


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to ourselves what torch and onnx have to say about their own insides.

    What they warn of, such as functions of theirs that are to go, differs by version and is
    nothing that a user can act on. What matters, whether the file is right, is measured; and what
    they log before they raise, pages of it, is in what they raise.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        # graphs that it could not follow are printed, not logged
        with (
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", module=r"(torch|onnx|copyreg|bamsearch\.export)")
            # The file does not hold a map that forward stores; the warning names other modules.
            warnings.filterwarnings("ignore", r"The tensor attributes? .* assigned during export")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def one_line_failures(format: Format) -> Iterator[None]:
    """Exporters raise what they like: one line instead, with the reason.

    Raises:
        ExportError: whatever it was.
        OutputError: it was the disk.
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
    """The first line of the innermost cause: torch.onnx wraps the reason in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
