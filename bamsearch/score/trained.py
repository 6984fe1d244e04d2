"""The score ``train``: what a design reaches on the validation images after one short training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bamsearch.data.splits import Data
from bamsearch.records import Design
from bamsearch.training.again import train_to_end
from bamsearch.training.engine import train
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress, Row
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import start_with


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one training of a design has come to.

    Attributes:
        right: validation images that are classified right after its last epoch.
        images: validation images.
        curve: per cent of them that were right after each epoch.
        seconds: that its epochs took.
    """

    right: int
    images: int
    curve: tuple[float, ...]
    seconds: float

    @property
    def per_cent(self) -> float:
        """The accuracy on the validation images, 0..100."""
        return 100 * self.right / self.images


def train_once(
    design: Design,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    place: Path | None = None,
    watch: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train a design from random weights, see :func:`bamsearch.training.start.start_with`.

    With a seed, all designs of a model have the same base weights and the same order of images. On
    a CPU with one thread the numbers are the same bit for bit whenever it is trained, also where it
    was killed on the way.

    Args:
        design: what to train.
        data: what it learns from, and is validated on; the test split is not read.
        recipe: how.
        seed: of everything random.
        device: where.
        place: folder for checkpoints, from which a training that was killed goes on; it is taken
            away at the end. None keeps none.
        watch: called after every few steps and every epoch; what it raises ends the training.

    Raises:
        DivergedError: the loss is no number.
        KeyboardInterrupt: it was interrupted; with a place, a checkpoint has been written.
        DesignError, NothingToDoError: the design does not fit the data.
    """
    start = start_with(design, data, seed=seed)
    if place is None:
        rows = train(start, data, recipe, seed=seed, device=device, watch=watch).rows
    else:
        folder = TrainingFolder(place, force=True)
        train_to_end(start, data, recipe, seed=seed, device=device, folder=folder, watch=watch)
        rows = tuple(folder.read_checkpoint()["progress"].rows)
        folder.remove()
    images = len(data.validation)
    return Outcome(
        right=round(rows[-1].validation_accuracy * images),
        images=images,
        curve=accuracies(rows),
        seconds=round(sum(row.seconds for row in rows), 3),
    )


def accuracies(rows: Sequence[Row]) -> tuple[float, ...]:
    """The validation accuracy after each epoch, in per cent."""
    return tuple(round(100 * row.validation_accuracy, 6) for row in rows)
