"""How far a training is: what a checkpoint keeps of it, and a row an epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from bamsearch.records.hints import Mark, Natural, Positive, Share

AnyFloat = Annotated[float, Mark.ANY_FLOAT]


@dataclass(frozen=True, slots=True)
class Row:
    """An epoch, a line of ``metrics.csv``.

    Attributes:
        epoch: from 1 on.
        lr: learning rate of its first step.
        train_loss: mean over the images, as they were augmented and while the weights changed.
        train_accuracy: share of them, 0..1, likewise.
        validation_loss: mean cross-entropy after the epoch, without label smoothing.
        validation_accuracy: share of the validation images, 0..1.
        seconds: that it took, with the validation.
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
    """Where a training is. It changes while the training goes on.

    Attributes:
        epoch: epochs done.
        step: steps done in the epoch after them.
        steps: in an epoch.
        lr: learning rate of that epoch's first step.
        loss: summed over the images of these steps, in this process.
        right: images that were classified right in them, in this process.
        images: in them, in this process.
        seconds: spent on them.
        rows: of the epochs done.
    """

    epoch: Natural = 0
    step: Natural = 0
    steps: Natural = 0
    lr: float = 0.0
    loss: AnyFloat = 0.0
    right: Natural = 0
    images: Natural = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint: plain values only."""
        return asdict(self)

    @property
    def contradicts_itself(self) -> bool:
        """Whether steps, images and rows cannot be those of one training."""
        too_far = self.step > self.steps or (self.step > 0 and not self.images)
        return too_far or len(self.rows) != self.epoch

    def next_epoch(self, row: Row) -> None:
        """An epoch is done."""
        self.rows.append(row)
        self.epoch += 1
        self.step = self.right = self.images = 0
        self.loss = self.seconds = 0.0
