"""How a search tells what it does: a base class, and a progress bar."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.records import BaselineKind, Design, Run, Trial

if TYPE_CHECKING:
    from bamsearch.reporting.content import Report
    from bamsearch.study.request import SearchPlan
    from bamsearch.training.progress import Progress


class SearchView:
    """Follows a search; a subclass overrides the methods that it needs.

    Attributes:
        command: command line or call that started the search, recorded in the run.
    """

    command = "bamsearch.search"

    def work(self, title: str) -> AbstractContextManager[object]:
        """Entered during work that takes seconds before or after the search itself."""
        return nullcontext()

    def resume(self, run: Run, folder: Path, *, requested: bool) -> None:
        """Called before a run is resumed, and before code that it names is executed.

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

    def warn(self, text: str) -> None:
        """Called with a warning."""
        warnings.warn(text, stacklevel=3)

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
