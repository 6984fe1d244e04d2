"""What decides a training's result, as ``train.json`` and checkpoints keep it."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from bamsearch.errors import TrainingError
from bamsearch.records.codec import Format
from bamsearch.records.hints import Mark, Positive, Range
from bamsearch.training.progress import Progress

FACTS_FILE = "train.json"


class Pixels(TypedDict):
    """How pixels in 0..1 are normalised, a number for each channel."""

    mean: list[float]
    std: list[Annotated[float, Range(1e-12)]]


class Facts(TypedDict):
    """The part of :class:`bamsearch.records.DataFacts` that a resumed training needs."""

    name: str
    hash: str
    input_shape: list[Positive]
    split_seed: int
    value_range: NotRequired[list[float] | None]


class About(Pixels):
    """What :func:`bamsearch.training.resume.about_training` makes; other keys are circumstances."""

    design: dict[str, Any] | None
    data: Facts
    recipe: dict[str, Any]
    seed: int
    weights: str | None
    fresh: list[str]
    source: NotRequired[str | None]
    weights_hash: NotRequired[str | None]


class Checkpoint(TypedDict):
    """The content of ``checkpoint.pt``; what torch keeps is checked where it is loaded."""

    about: About
    progress: Progress
    model: Annotated[dict[str, Any], Mark.OPAQUE]
    optimizer: Annotated[dict[str, Any], Mark.OPAQUE]
    scheduler: Annotated[dict[str, Any], Mark.OPAQUE]
    scaler: Annotated[dict[str, Any], Mark.OPAQUE]


ABOUT: Format[About] = Format(About, "train.json", TrainingError, "train anew in another folder")
PIXELS: Format[Pixels] = Format(Pixels, "train.json", TrainingError, "give other weights")
CHECKPOINT: Format[Checkpoint] = Format(Checkpoint, "checkpoint", TrainingError, "start anew")
