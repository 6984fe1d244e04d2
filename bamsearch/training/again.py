"""A training that is begun, or gone on with, or done already: whatever its folder says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from bamsearch.data.splits import Data
from bamsearch.errors import TrainingError
from bamsearch.graph.designs import WEIGHTS_FILE
from bamsearch.training.about import ABOUT, FACTS_FILE
from bamsearch.training.engine import train
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.resume import about_training, check_same_training
from bamsearch.training.start import Start

State = Literal["new", "begun", "done"]


def state_of(place: Path, wanted: Mapping[str, Any]) -> State:
    """How far a training is.

    Args:
        place: its folder.
        wanted: from :func:`about_training`.

    Raises:
        TrainingError: another training is there, by recipe, design or data.
    """
    try:
        saved = ABOUT.read(place / FACTS_FILE)
    except (OSError, TrainingError):
        return "new"
    if not (place / CHECKPOINT_FILE).is_file():
        return "new"
    try:
        check_same_training(saved, wanted, place)
    except TrainingError as error:
        said = str(error).rpartition(": ")[0]
        raise TrainingError(
            f"{said}: give what that was made with, or add --force to train anew"
        ) from error
    return "done" if (place / WEIGHTS_FILE).is_file() else "begun"


def train_to_end(
    start: Start,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    folder: TrainingFolder,
    watch: Callable[[Progress], None] | None = None,
) -> None:
    """Train a network to its end, from where it is; nothing where it is at its end already.

    Args:
        start: the network.
        data: what it learns from.
        recipe: how.
        seed: of everything random.
        device: where.
        folder: of the training; with its ``force`` another training there gives way.
        watch: called after every few steps and every epoch.

    Raises:
        DivergedError: its loss is no number.
        TrainingError: another training is in its folder, without ``force``.
        KeyboardInterrupt: it was interrupted, and has saved.
    """
    try:
        state = state_of(folder.path, about_training(start, data.facts, recipe, seed))
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
        start,
        data,
        recipe,
        seed=seed,
        device=device,
        output=folder,
        resume=state == "begun",
        watch=watch,
    )
