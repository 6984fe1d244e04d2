"""Metadata of a training, and the check that a resumed training has the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bamsearch.errors import TrainingError
from bamsearch.records import DataFacts, Design
from bamsearch.records.sources import file_hash, source_of
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.recipe import Recipe

_CONTENTS = ("data hash", "model's source", "weights' content")


def training_metadata(
    initial: InitialModel,
    facts: DataFacts,
    recipe: Recipe,
    seed: int,
) -> dict[str, Any]:
    """Metadata that determines the result of a training, for ``train.json`` and checkpoints.

    Args:
        initial: the initial network.
        facts: facts about the data.
        recipe: the recipe.
        seed: random seed.
    """
    design = None if initial.design is None else json.loads(initial.design.to_json())
    source = None if initial.design is None else source_of(initial.design.model)
    return {
        "design": design,
        "data": _plain(facts),
        "recipe": recipe.to_dict(),
        "seed": seed,
        "weights": initial.weights,
        "source": source,
        "weights_hash": None if initial.weights is None else file_hash(initial.weights),
        "fresh": sorted(initial.fresh),
        "mean": list(initial.mean),
        "std": list(initial.std),
    }


def _plain(facts: DataFacts) -> dict[str, Any]:
    value_range = None if facts.value_range is None else list(facts.value_range)
    return asdict(facts) | {"input_shape": list(facts.input_shape), "value_range": value_range}


def design_of(metadata: Mapping[str, Any]) -> Design | None:
    """The design of a training."""
    content = metadata["design"]
    return None if content is None else Design.from_json(json.dumps(content))


def check_same_training(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise TrainingError if a checkpoint is of another training, naming the first difference.

    Data sets are compared by hash, because their folders may have moved.

    Args:
        saved: :func:`training_metadata` of the checkpoint.
        now: :func:`training_metadata` of the requested training.
        folder: folder of the checkpoint.
    """
    for name, before, after in _compared(saved, now):
        if before != after:
            fix = "restore the original" if name in _CONTENTS else "omit this option"
            raise TrainingError(
                f"the training in {folder} has {name} {_text(before)}, not {_text(after)}: {fix}, "
                "or train again in another folder"
            )


def _compared(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """(name, value before, value now) of everything that must not differ."""
    # Older checkpoints have no value range.
    ranges = (each["data"].get("value_range") for each in (saved, now))
    pairs: list[tuple[str, object, object]] = [
        ("value range", *ranges),
        ("data hash", saved["data"]["hash"], now["data"]["hash"]),
        ("input", saved["data"]["input_shape"], now["data"]["input_shape"]),
    ]
    # The folder of a model's file may be written differently: its content is compared.
    before, after = (
        {**each["design"], "model": os.path.basename(each["design"]["model"])}
        if each["design"]
        else {}
        for each in (saved, now)
    )
    pairs += [(f"design {key}", before.get(key), after.get(key)) for key in {**before, **after}]
    keys = saved["recipe"]
    pairs += [(f"recipe {key}", keys[key], now["recipe"].get(key)) for key in keys]
    pairs += [(key, saved[key], now[key]) for key in ("seed", "weights")]
    # Missing in older versions, and in trainings resumed without their initial weights.
    contents = {"source": "model's source", "weights_hash": "weights' content"}
    pairs += [
        (text, saved[key], now[key])
        for key, text in contents.items()
        if saved.get(key) is not None and now[key] is not None
    ]
    return pairs


def _text(value: object) -> str:
    if isinstance(value, list):
        return json.dumps(value)
    return "none" if value is None else str(value)
