"""Progress of a running search: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.api.view import SearchView
from bamsearch.cli.console import Console, terminal_width
from bamsearch.cli.layout import table_text
from bamsearch.cli.model_work import ConsoleView
from bamsearch.cli.text.search_plan import feasibility_text
from bamsearch.records import BaselineKind, Design, Run, Trial
from bamsearch.reporting.text import design_text, duration_text, giga, mega, score_text, title
from bamsearch.text import number_text, share_text, shortened_text

if TYPE_CHECKING:
    from bamsearch.reporting.content import Report
    from bamsearch.study.request import SearchPlan
    from bamsearch.training.progress import Progress

_LAST = 6
_LONGEST = 200
"""Maximum length of a design in a progress line."""
# Without a terminal, a line is printed at each improvement and at least this often.
_QUIET_SECONDS = 30.0


class TerminalSearchView(ConsoleView, SearchView):
    """Shows a search on stderr.

    Args:
        console: console that prints the lines.
        dry_run: whether nothing is searched: the command then prints the plan itself.
        clock: time in seconds, replaced in tests.

    Attributes:
        planned: the plan, once there is one.
        folder: folder of the run, once it has a name.
        outcome: the report, once there is one.
        files: files of the report.
        seconds: seconds that the search took.
    """

    planned: SearchPlan
    folder: Path | None = None
    outcome: Report | None = None
    files: Sequence[Path] = ()
    seconds = 0.0

    def __init__(
        self,
        console: Console,
        *,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(console)
        self._dry_run = dry_run
        self._clock = clock
        self._trials: list[Trial] = []
        self._baselines = 0
        self._before: int | None = None
        self._best: Trial | None = None
        self._training = ""

    def resume(self, run: Run, folder: Path, *, requested: bool) -> None:
        """Print that the search is not a new one."""
        if not requested:
            self.console.note(f"resuming the unfinished search in {folder}\n")

    def plan(self, plan: SearchPlan, folder: Path | None) -> None:
        """Print the feasible designs."""
        self.planned, self.folder = plan, folder
        if not self._dry_run:
            self.console.note(f"{feasibility_text(plan)}\n")

    @contextmanager
    def search(self, run: Run, folder: Path) -> Iterator[None]:
        """Show the progress of the search while designs are scored."""
        self._run, self.folder = run, folder
        self._start = self._printed = self._clock()
        try:
            with self.console.live() as self._show:
                yield
        finally:
            self.seconds = self._clock() - self._start

    def report(self, report: Report, folder: Path, files: Sequence[Path]) -> None:
        """Keep the report for the command to print."""
        self.outcome, self.files = report, files

    def watch(self, finished: Sequence[tuple[BaselineKind | None, Trial]]) -> None:
        """Add newly finished trials; those of the first call are from before the search resumed."""
        first = self._before is None
        for kind, trial in finished:
            if kind is None:
                self._trials.append(trial)
            else:
                self._baselines += 1
            if kind is None and _better(trial, self._best):
                self._best = trial
                if not first:
                    self._print_line()
        if first:
            self._before = len(self._trials) + self._baselines
        if finished and not self._run.trained:
            self._training = ""
        if self._clock() - self._printed >= _QUIET_SECONDS:
            self._print_line()
        if self._show is not None:
            self._show(self._frame())

    def follow(self, design: Design, progress: Progress) -> None:
        """Update the training progress of a design."""
        epoch = progress.epoch + progress.step / max(progress.steps, 1)
        self._training = f"training {design_text(design)}: epoch {epoch:.1f}"
        if self._clock() - self._printed >= _QUIET_SECONDS:
            self._print_line()
        if self._show is not None:
            self._show(self._frame())

    def _speed(self) -> float:
        done = len(self._trials) + self._baselines - (self._before or 0)
        seconds = self._clock() - self._start
        return done / seconds if seconds > 0 else 0.0

    def _remaining(self) -> str:
        speed = self._speed()
        remaining = self._run.scores - len(self._trials) - self._baselines
        return duration_text(max(remaining, 0) / speed) if speed > 0 else "…"

    def _print_line(self) -> None:
        """Print a progress line if there is no live view."""
        self._printed = self._clock()
        if self._show is None:
            self.console.note(self._line())

    def _line(self) -> str:
        run = self._run
        if self._training and not run.trained:
            return self._training
        best = "nothing scored yet"
        if self._best is not None:
            word = "highest" if run.trained else "best"
            design = shortened_text(design_text(self._best.design), _LONGEST)
            best = f"{word} {score_text(self._best.score)}: {design}"
        return f"{len(self._trials)}/{run.trials} trials · {best} · {self._remaining()} remaining"

    def _frame(self) -> str:
        run = self._run
        share = share_text(run.feasible_designs, run.designs)
        baselines = f" · {self._baselines} baselines" if self._baselines else ""
        lines = [
            title(run),
            f"{len(self._trials)} of {run.trials} trials{baselines} · "
            f"{self._speed():.2f} per second · {self._remaining()} remaining",
            f"{number_text(run.feasible_designs)} feasible designs, {share} of the space",
            "",
        ]
        if self._best is not None:
            word = "highest" if run.trained else "best"
            lines += [
                f"{word}  {score_text(self._best.score)}  {design_text(self._best.design)}",
                "",
            ]
        last = self._trials[: -_LAST - 1 : -1]
        rows = [
            [
                str(trial.number),
                score_text(trial.score),
                giga(trial.macs),
                mega(trial.params),
                design_text(trial.design) if trial.reason is None else trial.reason,
            ]
            for trial in last
        ]
        if self._training:
            lines += [self._training, ""]
        if rows:
            header = ["trial", "score", "GFLOPs", "params", "design"]
            lines.append(table_text(header, rows, "rrrrl", width=terminal_width(sys.stderr)))
        return "\n".join(lines)


def _better(trial: Trial, best: Trial | None) -> bool:
    if trial.score is None:
        return False
    return best is None or best.score is None or trial.score > best.score
