"""Progress and results of a training, as text and JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.cli.layout import table_text
from bamsearch.records import DataFacts, Design
from bamsearch.reporting.text import count_text, design_text, duration_text, shape_text
from bamsearch.text import printable
from bamsearch.training.progress import EpochMetrics, Progress
from bamsearch.training.recipe import Recipe

if TYPE_CHECKING:
    from bamsearch.training.engine import Trained
    from bamsearch.training.request import TrainingPlan

# Without a terminal, a line is printed per epoch and at least this often.
_QUIET_SECONDS = 30.0
_LAST = 8
_HEADER = ["epoch", "lr", "train loss", "accuracy", "validation loss", "accuracy"]

CAUTION = (
    "One seed does not allow a comparison; the interval covers the images only. "
    "The test split was not read."
)


class TrainView:
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
            rows = [_cells(row) for row in progress.rows[-_LAST:]]
            lines += [table_text(_HEADER, rows, "rrrrrr"), ""]
        if progress.epoch < self._recipe.epochs:
            lines.append(self._step_line(progress))
        return "\n".join(lines)


@contextmanager
def train_view(console: Console, recipe: Recipe, title: str) -> Iterator[TrainView]:
    """Show the progress of a training on stderr while the block runs."""
    with console.live() as show:
        yield TrainView(recipe, title, console, show)


def title_text(design: Design, facts: DataFacts) -> str:
    """``resnet18 · 3×32×32 · BAM at layer1 r16 d4 · cifar10:DIR, 45,000 to train, 5,000 …``."""
    where = f"BAM at {design_text(design)}" if design.insertions else "no BAM"
    return (
        f"{printable(design.model)} · {shape_text(design.input_shape)} · {where}\n"
        f"{printable(facts.name)} · {facts.train:,} images to train, "
        f"{facts.validation:,} to validate · hash {facts.hash}"
    )


def recipe_text(planned: TrainingPlan) -> str:
    """Recipe, initial weights and seed, on one line."""
    recipe, weights = planned.recipe, planned.initial.weights
    schedule: str = recipe.schedule
    if recipe.milestones:
        schedule = f"steps after {', '.join(map(str, recipe.milestones))}"
    start = "random weights" if weights is None else f"weights {weights}"
    return (
        f"recipe {recipe.name}: {count_text(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, "
        f"lr {recipe.lr:g}, {schedule} · {start} · seed {planned.seed}"
    )


def print_trained(console: Console, trained: Trained) -> None:
    """Print all epochs and the validation accuracy."""
    console.table(_HEADER, [_cells(row) for row in trained.rows], "rrrrrr")
    low, high = trained.interval
    console.print(
        f"\nvalidation accuracy  {trained.accuracy:.2%}   "
        f"95% interval [{low:.2%}, {high:.2%}], {trained.right:,} of {trained.images:,} images"
    )
    console.print(CAUTION)


def trained_json(trained: Trained, planned: TrainingPlan, folder: Path) -> dict[str, Any]:
    """The output of ``train --json``."""
    return {
        "folder": str(folder),
        "design": json.loads(planned.design.to_json()),
        "data": asdict(planned.data.facts),
        "recipe": planned.recipe.to_dict(),
        "seed": planned.seed,
        "weights": planned.initial.weights,
        "epochs": [asdict(row) for row in trained.rows],
        "validation": {
            "accuracy": trained.accuracy,
            "interval_95": list(trained.interval),
            "right": trained.right,
            "images": trained.images,
        },
    }


def _cells(row: EpochMetrics) -> list[str]:
    return [
        str(row.epoch),
        f"{row.lr:.3g}",
        f"{row.train_loss:.4f}",
        f"{row.train_accuracy:.2%}",
        f"{row.validation_loss:.4f}",
        f"{row.validation_accuracy:.2%}",
    ]
