"""What every command does around its work on a MODEL."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from bamsearch.cli.console import Console
from bamsearch.errors import BamsearchError, DesignError, ModelError
from bamsearch.records.sources import user_code

# The first logs a whole traceback for an input that is too small, which we say in one line; the
# second a machine with CUDA's compiler and no GPU; the third spoilt TIFF files.
_LOUD = ("torch._subclasses.fake_tensor", "torch.utils.cpp_extension", "PIL.TiffImagePlugin")


@contextmanager
def model_work(console: Console, title: str, model: str) -> Iterator[None]:
    """Show progress while the block builds, loads or traces a MODEL.

    What others print goes to stderr: torch tells of a download on stdout, and a model's own file
    may print anything, while our stdout is data.

    Raises:
        DesignError: model is a design.json or a folder with one; it has BAM already.
    """
    with console.progress(title), others_hushed(console):
        try:
            yield
        except ModelError as error:
            base = _base_of_design(model)
            if base is None:
                raise
            raise DesignError(
                f"{model} is a design and has BAM already: give a MODEL, such as its own, "
                f"{shlex.quote(base)}"
            ) from error


@contextmanager
def others_hushed(console: Console) -> Iterator[None]:
    """Keep what others print off stdout, and loud loggers silent without ``-v``."""
    with redirect_stdout(sys.stderr), _hushed(not console.verbose):
        yield


def name_code(console: Console, *names: str) -> None:
    """Say on stderr which code of a user's is about to be executed.

    Args:
        console: of the command.
        names: a MODEL or a score each, as a run or a design names it.
    """
    code = dict.fromkeys(found for name in names if (found := user_code(name)) is not None)
    if code:
        console.note(f"executes code of {', '.join(code)}")


def name_code_of(console: Console, *designs: str) -> None:
    """The same for words that may be a DESIGN or a RUN."""
    name_code(console, *(model for word in designs if (model := _base_of_design(word))))


def _base_of_design(path: str) -> str | None:
    """The MODEL of a design on disk; None where there is no design."""
    from bamsearch.graph.designs import find_design

    with suppress(BamsearchError):
        return find_design(path)[0].model
    return None


@contextmanager
def _hushed(quiet: bool) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = quiet or logger.disabled
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
