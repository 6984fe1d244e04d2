"""The score ``train``: the validation accuracy of a design after one short training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bamsearch.data.splits import Data
from bamsearch.records import Design
from bamsearch.training.engine import train, train_to_end
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import InitialModel, build_initial_model
from bamsearch.training.progress import EpochMetrics, Watch
from bamsearch.training.recipe import Recipe
from bamsearch.training.trainer import Training


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """The result of one training of a design.

    Attributes:
        right: correctly classified validation images after the last epoch.
        images: number of validation images.
        curve: validation accuracy after each epoch, in percent.
        seconds: duration of its epochs, in seconds.
    """

    right: int
    images: int
    curve: tuple[float, ...]
    seconds: float

    @property
    def percent(self) -> float:
        """The validation accuracy after the last epoch, in percent."""
        return 100 * self.right / self.images


def train_once(
    network: Design | InitialModel,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    device: str = "cpu",
    checkpoints: Path | None = None,
    watch: Watch | None = None,
) -> TrainingOutcome:
    """Train a design from random weights, see :func:`.build_initial_model`, or a given network.

    With equal seeds, all designs of a model have the same base weights and the same order of
    images. On a CPU with one thread, results are reproducible bit for bit, even if the training was
    killed and resumed.

    Args:
        network: design or network to train.
        data: training and validation data; the test split is not read.
        recipe: training recipe.
        seed: random seed.
        device: device to train on.
        checkpoints: folder from which a killed training resumes; removed at the end. None writes no
            checkpoints.
        watch: called every few steps and after every epoch; an exception ends the training.

    Raises:
        DivergedError: the loss became NaN or infinite.
        KeyboardInterrupt: on an interrupt; a checkpoint has been written if there is a folder.
        DesignError, NothingToDoError: the design does not match the data.
    """
    if isinstance(network, Design):
        network = build_initial_model(network, data, seed=seed)
    training = Training(network, data, recipe, seed, device)
    if checkpoints is None:
        rows = train(training, watch=watch).rows
    else:
        folder = TrainingFolder(checkpoints, force=True)
        train_to_end(training, folder, watch)
        rows = tuple(folder.read_checkpoint()["progress"].rows)
        folder.remove()
    images = len(data.validation)
    return TrainingOutcome(
        right=round(rows[-1].validation_accuracy * images),
        images=images,
        curve=accuracies(rows),
        seconds=round(sum(row.seconds for row in rows), 3),
    )


def accuracies(rows: Sequence[EpochMetrics]) -> tuple[float, ...]:
    """The validation accuracy after each epoch, in percent."""
    return tuple(round(100 * row.validation_accuracy, 6) for row in rows)
