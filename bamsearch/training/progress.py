"""How far a training is: what a checkpoint keeps of it, and a row an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


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

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
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

    epoch: int = 0
    step: int = 0
    steps: int = 0
    lr: float = 0.0
    loss: float = 0.0
    right: int = 0
    images: int = 0
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint: plain values only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Progress:
        """Read what :meth:`to_dict` made."""
        rows = [Row(**row) for row in content["rows"]]
        return cls(**(dict(content) | {"rows": rows}))

    def next_epoch(self, row: Row) -> None:
        """An epoch is done."""
        self.rows.append(row)
        self.epoch += 1
        self.step = self.right = self.images = 0
        self.loss = self.seconds = 0.0
