"""Start, resume or skip a training depending on its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from bamsearch.data.splits import Data
from bamsearch.errors import TrainingError
from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE
from bamsearch.training.engine import train
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.metadata import FACTS_FILE, METADATA
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.resume import check_same_training, training_metadata

State = Literal["new", "started", "done"]


def state_of(folder: Path, wanted: Mapping[str, Any]) -> State:
    """State of a training.

    Args:
        folder: folder of the training.
        wanted: metadata from :func:`training_metadata`.

    Raises:
        TrainingError: the folder has a training with another recipe, design or data.
    """
    try:
        saved = METADATA.read(folder / FACTS_FILE)
    except (OSError, TrainingError):
        return "new"
    if not (folder / CHECKPOINT_FILE).is_file():
        return "new"
    try:
        check_same_training(saved, wanted, folder)
    except TrainingError as error:
        difference = str(error).rpartition(": ")[0]
        raise TrainingError(
            f"{difference}: use the same settings, or add `force` to train again"
        ) from error
    # A kill between the last two files leaves the weights without the design.
    files = (WEIGHTS_FILE,) if wanted["design"] is None else (WEIGHTS_FILE, DESIGN_FILE)
    return "done" if all((folder / name).is_file() for name in files) else "started"


def train_to_end(
    initial: InitialModel,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    folder: TrainingFolder,
    watch: Callable[[Progress], None] | None = None,
) -> None:
    """Train a network to the end: start, resume, or do nothing if the training is finished.

    Args:
        initial: the initial network.
        data: the data set.
        recipe: the recipe.
        seed: random seed.
        device: name of the device.
        folder: folder of the training; its ``force`` replaces another training there.
        watch: called after every few steps and every epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        TrainingError: the folder has another training, and ``force`` is False.
        KeyboardInterrupt: the training was interrupted, and a checkpoint was saved.
    """
    try:
        state = state_of(folder.path, training_metadata(initial, data.facts, recipe, seed))
    except TrainingError:
        if not folder.force:
            raise
        state = "new"
    if state != "new" and folder.force and not folder.readable:
        state = "new"
    if state == "done":
        return
    if state == "new":
        folder.remove()
    train(
        initial,
        data,
        recipe,
        seed=seed,
        device=device,
        output=folder,
        resume=state == "started",
        watch=watch,
    )
