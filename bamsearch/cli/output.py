"""Checks that output paths are writable before work starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.errors import OutputError
from bamsearch.files import DRAFT, remove_dead_drafts

if TYPE_CHECKING:
    from bamsearch.cli.console import Console
    from bamsearch.reporting.writing import Document


def check_output_folder(
    path: Path | None, *, force: bool, advice: str = "choose another path, or add --force"
) -> None:
    """Check that path is an empty folder, or that it can be created.

    Args:
        path: value of ``-o``; None passes, as nothing will be written.
        force: accept a folder that is not empty.
        advice: next step for the message about a folder that is not empty.

    Raises:
        OutputError: path is a file, not empty or not writable.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, not a folder: choose another path")
    if path.is_dir() and not force and any(not _is_draft(child) for child in path.iterdir()):
        raise OutputError(f"{path} exists already: {advice}")
    _check_writable(path)


def _is_draft(path: Path) -> bool:
    """Whether a killed process left the file half-written."""
    return path.name.startswith(DRAFT)


def check_output_file(path: Path | None, *, force: bool) -> None:
    """Check that a file can be written at path.

    Args:
        path: value of ``-o``; None passes, as nothing will be written.
        force: accept an existing file.

    Raises:
        OutputError: path is a folder, exists or is not writable.
    """
    if path is None:
        return
    remove_dead_drafts(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder, not a file: choose another path")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: choose another path, or add --force")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Raise OutputError unless path, or its nearest existing parent, is writable."""
    existing = next(existing for existing in (path, *path.absolute().parents) if existing.exists())
    if existing != path and not existing.is_dir():
        raise OutputError(f"{path} cannot be created: {existing} is a file; choose another path")
    if not os.access(existing, os.W_OK):
        raise OutputError(
            f"{path} cannot be written: no permission in {existing}; choose another path with -o"
        )


def write_beside(console: Console, document: Document) -> list[Path]:
    """Write a report into its own folder; a warning if that fails, as the records are on disk.

    ``bamsearch report`` can write it later.
    """
    try:
        with console.progress("making the report"):
            return document.write()
    except OutputError as error:
        console.warn(f"no report: {error}")
        return []
