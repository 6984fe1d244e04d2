"""Metadata that determines the result of a training: made, stored and compared.

``train.json`` and checkpoints have it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from bamsearch.errors import TrainingError
from bamsearch.records import DataFacts, Design
from bamsearch.records.comparison import first_difference
from bamsearch.records.formats import Format
from bamsearch.records.hints import Mark, Positive, Range
from bamsearch.records.sources import file_hash, source_of
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe

if TYPE_CHECKING:
    from bamsearch.training.initial_model import InitialModel

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
    """Result of :func:`training_metadata`; other keys do not matter."""

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


def training_metadata(
    initial: InitialModel, facts: DataFacts, recipe: Recipe, seed: int
) -> dict[str, Any]:
    """Metadata that determines the result of a training, for ``train.json`` and checkpoints."""
    design = None if initial.design is None else json.loads(initial.design.to_json())
    value_range = None if facts.value_range is None else list(facts.value_range)
    data = {"input_shape": list(facts.input_shape), "value_range": value_range}
    return {
        "design": design,
        "data": asdict(facts) | data,
        "recipe": recipe.to_dict(),
        "seed": seed,
        "weights": initial.weights,
        "source": None if initial.design is None else source_of(initial.design.model),
        "weights_hash": None if initial.weights is None else file_hash(initial.weights),
        "fresh": sorted(initial.fresh),
        "mean": list(initial.mean),
        "std": list(initial.std),
    }


def design_of(metadata: Mapping[str, Any]) -> Design | None:
    """The design of a training."""
    content = metadata["design"]
    return None if content is None else Design.from_json(json.dumps(content))


def check_same_training(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise TrainingError if a checkpoint is of another training, naming the first difference.

    ``saved`` and ``now`` are :func:`training_metadata` of the checkpoint and of the request. Data
    sets are compared by hash, because their folders may have moved.
    """
    before, after = _comparable(saved), _comparable(now)
    after["recipe"] = {key: after["recipe"].get(key) for key in before["recipe"]}
    # Missing in older versions, and in trainings resumed without their initial weights.
    missing = [key for key in _CONTENTS if before[key] is None or after[key] is None]
    difference = first_difference(before, after, ignoring=missing)
    if difference is not None:
        fix = "restore the original" if difference.name in _CONTENTS else "omit this option"
        raise TrainingError(
            f"the training in {folder} has {difference.name} {difference.stored}, not "
            f"{difference.requested}: {fix}, or train again in another folder"
        )


_CONTENTS = ("data hash", "model's source", "weights' content")


def _comparable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that must not differ, by its name in messages."""
    design, data = metadata["design"], metadata["data"]
    return {
        "value range": json.dumps(data.get("value_range")).replace("null", "none"),
        "data hash": data["hash"],
        "input": json.dumps(data["input_shape"]),
        # The folder of a model's file may be written differently: its content is compared.
        "design": {**design, "model": os.path.basename(design["model"])} if design else {},
        "recipe": metadata["recipe"],
        "seed": metadata["seed"],
        "weights": metadata["weights"],
        "model's source": metadata.get("source"),
        "weights' content": metadata.get("weights_hash"),
    }
