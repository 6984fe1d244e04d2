"""May this path be written? Asked before the work is done, not after."""

from __future__ import annotations

import os
from pathlib import Path

from bamsearch.errors import OutputError
from bamsearch.records.disk import DRAFT, remove_dead_drafts


def check_output_folder(
    path: Path | None, *, force: bool, advice: str = "choose another path, or add --force"
) -> None:
    """Raise OutputError unless a folder can be made at path, or is there and empty.

    Args:
        path: from ``-o``; None is fine, nothing will be written.
        force: what is in the folder may be overwritten.
        advice: what to do where something is in it.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, and a folder is needed: choose another path")
    if path.is_dir() and not force and any(not _is_draft(one) for one in path.iterdir()):
        raise OutputError(f"{path} exists already: {advice}")
    _check_writable(path)


def _is_draft(path: Path) -> bool:
    """Whether a killed process left it half-written."""
    return path.name.startswith(DRAFT)


def check_output_file(path: Path | None, *, force: bool) -> None:
    """Raise OutputError unless a file can be written at path.

    Args:
        path: from ``-o``; None is fine, nothing will be written.
        force: a file that is there may be overwritten.
    """
    if path is None:
        return
    remove_dead_drafts(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder, and a file is needed: choose another path")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: choose another path, or add --force")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Raise OutputError unless path, or the nearest folder above it that exists, is writable."""
    place = next(place for place in (path, *path.absolute().parents) if place.exists())
    if place != path and not place.is_dir():
        raise OutputError(f"{path} cannot be made: {place} is a file; choose another path")
    if not os.access(place, os.W_OK):
        raise OutputError(f"{path} cannot be written: no permission in {place}; choose with -o")
