"""Metadata that determines the result of a training, stored in ``train.json`` and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from bamsearch.errors import TrainingError
from bamsearch.records.formats import Format
from bamsearch.records.hints import Mark, Positive, Range
from bamsearch.training.progress import Progress

FACTS_FILE = "train.json"


class Pixels(TypedDict):
    """Normalisation of pixels in 0..1, one number per channel."""

    mean: list[float]
    std: list[Annotated[float, Range(1e-12)]]


class Facts(TypedDict):
    """The part of :class:`bamsearch.records.DataFacts` that a resumed training needs."""

    name: str
    hash: str
    input_shape: list[Positive]
    split_seed: int
    value_range: NotRequired[list[float] | None]


class TrainingMetadata(Pixels):
    """Result of :func:`bamsearch.training.resume.training_metadata`; other keys do not matter."""

    design: dict[str, Any] | None
    data: Facts
    recipe: dict[str, Any]
    seed: int
    weights: str | None
    fresh: list[str]
    source: NotRequired[str | None]
    weights_hash: NotRequired[str | None]


class Checkpoint(TypedDict):
    """Content of ``checkpoint.pt``; the torch states are checked when they are loaded."""

    about: TrainingMetadata
    progress: Progress
    model: Annotated[dict[str, Any], Mark.OPAQUE]
    optimizer: Annotated[dict[str, Any], Mark.OPAQUE]
    scheduler: Annotated[dict[str, Any], Mark.OPAQUE]
    scaler: Annotated[dict[str, Any], Mark.OPAQUE]


METADATA: Format[TrainingMetadata] = Format(
    TrainingMetadata, "train.json", TrainingError, "train again in another folder"
)
PIXELS: Format[Pixels] = Format(Pixels, "train.json", TrainingError, "use other weights")
CHECKPOINT: Format[Checkpoint] = Format(Checkpoint, "checkpoint", TrainingError, "start again")
