"""Writes a report beside its records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.errors import OutputError

if TYPE_CHECKING:
    from bamsearch.cli.console import Console
    from bamsearch.reporting.documents import Document


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
