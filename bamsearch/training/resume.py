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
from bamsearch.training.recipe import Recipe
from bamsearch.training.start import Start

_CONTENTS = ("data hash", "model's source", "weights' content")


def about_training(
    start: Start,
    facts: DataFacts,
    recipe: Recipe,
    seed: int,
) -> dict[str, Any]:
    """Metadata that determines the result of a training, for ``train.json`` and checkpoints.

    Args:
        start: the initial network.
        facts: facts about the data.
        recipe: the recipe.
        seed: random seed.
    """
    design = None if start.design is None else json.loads(start.design.to_json())
    source = None if start.design is None else source_of(start.design.model)
    return {
        "design": design,
        "data": _plain(facts),
        "recipe": recipe.to_dict(),
        "seed": seed,
        "weights": start.weights,
        "source": source,
        "weights_hash": None if start.weights is None else file_hash(start.weights),
        "fresh": sorted(start.fresh),
        "mean": list(start.mean),
        "std": list(start.std),
    }


def _plain(facts: DataFacts) -> dict[str, Any]:
    value_range = None if facts.value_range is None else list(facts.value_range)
    return asdict(facts) | {"input_shape": list(facts.input_shape), "value_range": value_range}


def design_of(about: Mapping[str, Any]) -> Design | None:
    """The design of a training."""
    content = about["design"]
    return None if content is None else Design.from_json(json.dumps(content))


def check_same_training(saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise TrainingError if a checkpoint is of another training, naming the first difference.

    Data sets are compared by hash, because their folders may have moved.

    Args:
        saved: :func:`about_training` of the checkpoint.
        now: :func:`about_training` of the requested training.
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
