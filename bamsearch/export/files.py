"""Drafts beside the place that they are for, and their renaming into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bamsearch.errors import OutputError
from bamsearch.export.exported import Exported, Format
from bamsearch.records.disk import draft_folder, sync_files, sync_folder
from bamsearch.text import is_utf8


@contextmanager
def drafted(target: Path | None, format: Format) -> Iterator[Path]:
    """A file to write first, in a folder of its own on the target's disk, gone afterwards."""
    if target is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / f"trial.{format}"
        return
    if not is_utf8(str(target.absolute())):
        # torch ends the process there.
        raise OutputError(f"{target} is not UTF-8: choose another path")
    place = next(above for above in target.absolute().parents if above.exists())
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(draft_folder(place / target.name))
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error}") from error
        yield draft / target.name


def keep(exported: Exported, target: Path, force: bool) -> Exported:
    """Rename the drafts to their places.

    Raises:
        OutputError: a place is taken, or cannot be written.
    """
    places = tuple(target.with_name(file.name) for file in exported.files)
    refuse_taken(places, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_files(exported.files[0].parent)
        # the file itself last: a whole one is never without its weights
        for draft, place in reversed([*zip(exported.files, places, strict=True)]):
            os.replace(draft, place)
        sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error}") from error
    return replace(exported, path=target, files=places)


def refuse_taken(places: Sequence[Path], force: bool) -> None:
    """Raise OutputError where a folder is, or, without force, a file."""
    for place in places:
        if place.is_dir():
            raise OutputError(f"{place} is a folder, and a file is needed: choose another path")
        if place.exists() and not force:
            raise OutputError(f"{place} exists already: choose another path, or force it")
