"""How a search tells what it does: a base class, and a progress bar; how reports are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.errors import OutputError
from bamsearch.records import BaselineKind, Design, Run, Trial
from bamsearch.training.progress import View

if TYPE_CHECKING:
    from bamsearch.reporting.content import Report
    from bamsearch.reporting.documents import Document
    from bamsearch.study.request import SearchPlan
    from bamsearch.training.progress import Progress


class SearchView(View):
    """Follows a search; a subclass overrides the methods that it needs."""

    def resume(self, run: Run, folder: Path, *, requested: bool) -> None:
        """Called before a run is resumed.

        Args:
            run: the recorded run.
            folder: its folder.
            requested: False if the caller only repeated the search.
        """

    def plan(self, plan: SearchPlan, folder: Path | None) -> None:
        """Called with the feasible designs; the folder is None if it has no name yet."""

    def search(self, run: Run, folder: Path) -> AbstractContextManager[object]:
        """Entered while designs are scored."""
        return nullcontext()

    def watch(self, finished: Sequence[tuple[BaselineKind | None, Trial]]) -> None:
        """Called with newly finished trials; the first call has those of an earlier session."""

    def follow(self, design: Design, progress: Progress) -> None:
        """Called every few steps with a design and the progress of its training."""

    def report(self, report: Report, folder: Path, files: Sequence[Path]) -> None:
        """Called with the report of a kept run, and its files; also after Ctrl-C."""


class ProgressView(SearchView):
    """Shows a progress bar, in a terminal or a notebook."""

    def __init__(self) -> None:
        self._advance: Callable[[int], object] = lambda number: None

    @contextmanager
    def search(self, run: Run, folder: Path) -> Iterator[None]:
        """Show the bar while designs are scored."""
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("searching", total=run.scores)
            self._advance = lambda number: progress.advance(task, number)
            yield

    def watch(self, finished: Sequence[tuple[BaselineKind | None, Trial]]) -> None:
        """Advance the bar."""
        self._advance(len(finished))


def write_beside(document: Document, view: View) -> list[Path]:
    """Write a report into its own folder; a warning if that fails, as the records are on disk."""
    try:
        with view.work("making the report"):
            return document.write()
    except OutputError as error:
        view.warn(f"no report: {error}")
        return []
