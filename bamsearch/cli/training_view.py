"""How train, verify and audit are shown on a terminal, and the options that they share."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.layout import table_text
from bamsearch.cli.model_work import ConsoleView, silence_third_party
from bamsearch.cli.text.train import HEADER, cells
from bamsearch.reporting.text import duration_text
from bamsearch.training.progress import Progress, TrainingView, Watch
from bamsearch.training.recipe import RECIPES, Recipe

Function = TypeVar("Function", bound=Callable[..., Any])

# Without a terminal, a line is printed per epoch and at least this often.
_QUIET_SECONDS = 30.0
_LAST = 8


class TrainingDisplay:
    """Shows the progress of a training.

    Args:
        recipe: recipe with the number of epochs.
        title: title of the live view.
        console: console that prints the lines.
        show: function that draws the live view; None prints lines instead.
        clock: time in seconds, replaced in tests.
    """

    def __init__(
        self,
        recipe: Recipe,
        title: str,
        console: Console,
        show: Callable[[str], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recipe = recipe
        self._title = title
        self._console = console
        self._show = show
        self._clock = clock
        self._start = self._printed = clock()
        self._first: int | None = None
        self._epochs = 0

    def watch(self, progress: Progress) -> None:
        """Update the progress of the training."""
        if self._first is None:  # also called before the first step
            self._first, self._epochs = self._done(progress), progress.epoch
        if self._show is not None:
            self._show(self._frame(progress))
            return
        now = self._clock()
        if progress.epoch > self._epochs or now - self._printed >= _QUIET_SECONDS:
            self._printed = now
            new = progress.epoch > self._epochs
            self._epochs = progress.epoch
            self._console.note(self._epoch_line(progress) if new else self._step_line(progress))

    @property
    def seconds(self) -> float:
        """Seconds since the view was opened."""
        return self._clock() - self._start

    def _done(self, progress: Progress) -> int:
        return progress.epoch * progress.steps + progress.step

    def _remaining(self, progress: Progress) -> str:
        done = self._done(progress)
        new = done - (self._first or 0)
        if new <= 0:
            return "…"
        return duration_text(self.seconds / new * (self._recipe.epochs * progress.steps - done))

    def _epoch_line(self, progress: Progress) -> str:
        row = progress.rows[-1]
        remaining = (
            f" · {self._remaining(progress)} remaining"
            if progress.epoch < self._recipe.epochs
            else ""
        )
        return (
            f"epoch {row.epoch}/{self._recipe.epochs} · lr {row.lr:.3g} · "
            f"train loss {row.train_loss:.4f}, {row.train_accuracy:.1%} · "
            f"validation loss {row.validation_loss:.4f}, {row.validation_accuracy:.1%}{remaining}"
        )

    def _step_line(self, progress: Progress) -> str:
        images = max(progress.images, 1)
        return (
            f"epoch {progress.epoch + 1}/{self._recipe.epochs} · "
            f"step {progress.step}/{progress.steps} · loss {progress.loss / images:.4f}, "
            f"{progress.right / images:.1%} · {self._remaining(progress)} remaining"
        )

    def _frame(self, progress: Progress) -> str:
        lines = [self._title, ""]
        if progress.rows:
            rows = [cells(row) for row in progress.rows[-_LAST:]]
            lines += [table_text(HEADER, rows, "rrrrrr"), ""]
        if progress.epoch < self._recipe.epochs:
            lines.append(self._step_line(progress))
        return "\n".join(lines)


class TerminalView(ConsoleView, TrainingView):
    """Prints the plan on stdout unless it is JSON, and progress on stderr.

    Attributes:
        as_json: the command prints JSON only.
        planned: the plan, once it is made.
        estimate: the estimate of ``verify`` and ``audit``.
        shown: the last training.
    """

    planned: Any = None
    estimate: Any = None
    shown: TrainingDisplay | None = None

    def __init__(self, console: Console, *, as_json: bool) -> None:
        super().__init__(console)
        self.as_json = as_json
        self._stdout = sys.stdout

    def print_plan(self) -> None:
        """Print the plan, and warnings about it."""

    def continuing(self) -> tuple[str, Path]:
        """The command that continues an interrupted one, and its files."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Call the library: third-party output goes to stderr; Ctrl-C prints how to continue."""
        try:
            # A network may print, but stdout is for data.
            with silence_third_party(self.console):
                yield
        except KeyboardInterrupt:
            if self.planned is not None:
                step, path = self.continuing()
                self.console.finish({"continue": step}, [path])
            raise

    def plan(self, plan: Any, estimate: Any) -> None:
        """Print the plan."""
        self.planned, self.estimate = plan, estimate
        with redirect_stdout(self._stdout):
            self.print_plan()

    @contextmanager
    def train(self, title: str, recipe: Recipe) -> Iterator[Watch]:
        """Show the epochs."""
        with self.console.live() as show:
            self.shown = TrainingDisplay(recipe, title, self.console, show)
            yield self.shown.watch

    def trained(self, text: str) -> None:
        """Print a result."""
        self.console.note(text)


def recipe_options(default: str) -> Callable[[Function], Function]:
    """Add ``recipe: str | None`` and ``epochs: int | None``.

    Args:
        default: default recipe, for the help.
    """
    choice = click.Choice(list(RECIPES))
    option = click.option("--recipe", type=choice, help=f"Training recipe.  [default: {default}]")
    return lambda function: option(options.epochs(function))
