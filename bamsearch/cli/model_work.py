"""Work on a MODEL in a command: progress, third-party output, user code, errors."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress

from bamsearch.cli.console import Console
from bamsearch.errors import BamsearchError, DesignError, ModelError
from bamsearch.records.sources import user_code
from bamsearch.training.progress import View

# These loggers report, respectively, a traceback for an input that is too small (reported on one
# line here), a CUDA compiler without a GPU, and damaged TIFF files.
_VERBOSE_LOGGERS = (
    "torch._subclasses.fake_tensor",
    "torch.utils.cpp_extension",
    "PIL.TiffImagePlugin",
)


class ConsoleView(View):
    """Shows work, warnings and the names of user code on stderr."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def execute(self, *names: str) -> None:
        """Name user code."""
        announce_code(self.console, *names)

    def work(self, title: str) -> AbstractContextManager[object]:
        """Show a spinner."""
        return self.console.progress(title)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.console.warn(text)


@contextmanager
def model_work(console: Console, title: str, model: str) -> Iterator[None]:
    """Show progress while the block builds, loads or traces a MODEL.

    Third-party output goes to stderr, as stdout is for data: torch reports downloads on stdout,
    and the file of a model may print anything.
    """
    with console.progress(title), silence_third_party(console), refuse_design(model):
        yield


@contextmanager
def refuse_design(model: str) -> Iterator[None]:
    """Raise DesignError for a ModelError of the block if the MODEL is a design, which has BAM."""
    try:
        yield
    except ModelError as error:
        base = _base_of_design(model)
        if base is None:
            raise
        raise DesignError(
            f"{model} is a design, which already has BAM: give a MODEL, such as its base, "
            f"{shlex.quote(base)}"
        ) from error


@contextmanager
def silence_third_party(console: Console) -> Iterator[None]:
    """Redirect third-party output to stderr; without ``-v`` also mute verbose loggers."""
    with redirect_stdout(sys.stderr), _mute_loggers(not console.verbose):
        yield


def announce_code(console: Console, *names: str) -> None:
    """Print on stderr which user code is about to be executed.

    Args:
        console: console of the command.
        names: MODELs or scores, as named in a run or a design.
    """
    code = dict.fromkeys(source for name in names if (source := user_code(name)) is not None)
    if code:
        console.note(f"executes code of {', '.join(code)}")


def announce_code_of(console: Console, *designs: str) -> None:
    """Like :func:`announce_code`, for arguments that may be a DESIGN or a RUN."""
    announce_code(console, *(model for word in designs if (model := _base_of_design(word))))


def _base_of_design(path: str) -> str | None:
    """The MODEL of a design on disk; None if path is not a design."""
    from bamsearch.graph.designs import find_design

    with suppress(BamsearchError):
        return find_design(path)[0].model
    return None


@contextmanager
def _mute_loggers(quiet: bool) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _VERBOSE_LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = quiet or logger.disabled
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
