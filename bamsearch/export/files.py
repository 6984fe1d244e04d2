"""Write draft files next to their targets, and rename them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bamsearch.errors import OutputError
from bamsearch.export.exported import Exported, ExportFormat
from bamsearch.files import draft_folder, sync_files, sync_folder, written
from bamsearch.text import is_utf8


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
    """Rename the drafts to their targets.

    Raises:
        OutputError: a target exists, or cannot be written.
    """
    targets = tuple(target.with_name(file.name) for file in exported.files)
    refuse_taken(targets, force)
    with written(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_files(exported.files[0].parent)
        # the main file last, so that it never exists without its weights
        for draft, path in reversed([*zip(exported.files, targets, strict=True)]):
            os.replace(draft, path)
        sync_folder(target.parent)
    return replace(exported, path=target, files=targets)


def refuse_taken(paths: Sequence[Path], force: bool) -> None:
    """Raise OutputError if a path is a folder, or, without force, an existing file."""
    for path in paths:
        if path.is_dir():
            raise OutputError(f"{path} is a folder, not a file: choose another path")
        if path.exists() and not force:
            raise OutputError(f"{path} exists already: choose another path, or force it")
