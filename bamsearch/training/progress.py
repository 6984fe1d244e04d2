"""Progress of a training, as saved in checkpoints, and the views that show it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Annotated, Any

from bamsearch.records.hints import Mark, Natural, Positive, Share
from bamsearch.training.recipe import Recipe

AnyFloat = Annotated[float, Mark.ANY_FLOAT]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """Metrics of an epoch, a line of ``metrics.csv``.

    Attributes:
        epoch: number of the epoch, from 1.
        lr: learning rate of its first step.
        train_loss: mean over the augmented images while the weights change.
        train_accuracy: accuracy on the same images, 0..1.
        validation_loss: mean cross-entropy after the epoch, without label smoothing.
        validation_accuracy: accuracy on the validation images, 0..1.
        seconds: duration of the epoch, including validation.
    """

    epoch: Positive
    lr: float
    train_loss: AnyFloat
    train_accuracy: Share
    validation_loss: AnyFloat
    validation_accuracy: Share
    seconds: float


@dataclass(slots=True)
class Progress:
    """Mutable progress of a training. Sums are over the current epoch's steps in this process.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps in the current epoch.
        steps: number of steps per epoch.
        lr: learning rate of the current epoch's first step.
        loss: sum of the losses of all images.
        right: number of correctly classified images.
        images: number of images.
        seconds: time spent on the steps.
        rows: metrics of the finished epochs.
    """

    epoch: Natural = 0
    step: Natural = 0
    steps: Natural = 0
    lr: float = 0.0
    loss: AnyFloat = 0.0
    right: Natural = 0
    images: Natural = 0
    seconds: float = 0.0
    rows: list[EpochMetrics] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @property
    def contradicts_itself(self) -> bool:
        """Whether steps, images and rows are inconsistent."""
        too_far = self.step > self.steps or (self.step > 0 and not self.images)
        return too_far or len(self.rows) != self.epoch

    def next_epoch(self, row: EpochMetrics) -> None:
        """Finish the current epoch."""
        self.rows.append(row)
        self.epoch += 1
        self.step = self.right = self.images = 0
        self.loss = self.seconds = 0.0


Watch = Callable[[Progress], object]


def is_first_process() -> bool:
    """Whether this is the only process, or rank 0 of ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"


class View:
    """Follows long work: a subclass overrides the methods that it needs."""

    def execute(self, *names: str) -> None:
        """Called before the code of recorded MODELs and scores is executed."""

    def work(self, title: str) -> AbstractContextManager[object]:
        """Entered during work that takes seconds, before or after the long work itself."""
        return nullcontext()

    def warn(self, text: str) -> None:
        """Called with a warning."""
        warnings.warn(text, stacklevel=3)


class TrainingView(View):
    """Follows train, verify or audit; a subclass overrides the methods that it needs."""

    def plan(self, plan: Any, estimate: Any) -> None:
        """Called when everything is ready to train.

        Args:
            plan: TrainingPlan, VerifyPlan or AuditPlan.
            estimate: VerifyEstimate or AuditEstimate; None for train.
        """

    def train(self, title: str, recipe: Recipe) -> AbstractContextManager[Watch | None]:
        """Entered while a network is trained.

        Returns:
            A context whose value is called after every few steps and every epoch, unless None.
        """
        return nullcontext()

    def trained(self, text: str) -> None:
        """Called with the result of a training of an audit, as text."""


SILENT = TrainingView()


class ProgressBars(TrainingView):
    """A progress bar for each training, on stderr."""

    def plan(self, plan: Any, estimate: Any) -> None:
        """Print the number of trainings, and their duration."""
        if estimate is not None:
            seconds = timedelta(seconds=round(estimate.seconds))
            counts = f"{estimate.trainings} trainings, {estimate.done} done"
            print(f"at most {counts}, about {seconds} remaining", file=sys.stderr)

    @contextmanager
    def train(self, title: str, recipe: Recipe) -> Iterator[Watch]:
        """Show the steps of a training."""
        from rich.console import Console
        from rich.progress import Progress as ProgressBar

        with ProgressBar(console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=None)

            def watch(progress: Progress) -> None:
                done = progress.epoch * progress.steps + progress.step
                bar.update(task, completed=done, total=recipe.epochs * progress.steps)

            yield watch
