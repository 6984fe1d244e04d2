"""A training that goes on must be the training that it was."""

from __future__ import annotations

import json
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
    """What decides a training's result, as plain values: for ``train.json`` and checkpoints.

    Args:
        start: what is trained.
        facts: of the data.
        recipe: how.
        seed: of everything random.
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
    """Raise TrainingError where a checkpoint is of another training, naming the first difference.

    A data set may be found in another folder: its hash counts, not its name.

    Args:
        saved: what :func:`about_training` was for the checkpoint.
        now: what it is now.
        folder: of the checkpoint.
    """
    for name, was, given in _compared(saved, now):
        if was != given:
            way = "bring that back" if name in _CONTENTS else "leave that out"
            raise TrainingError(
                f"the training in {folder} has {name} {_text(was)}, not {_text(given)}: {way}, "
                "or train anew in another folder"
            )


def _compared(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """(name, what it was, what it is), of all that must not differ."""
    # Checkpoints from before value ranges have none.
    ranges = (each["data"].get("value_range") for each in (saved, now))
    found: list[tuple[str, object, object]] = [
        ("value range", *ranges),
        ("data hash", saved["data"]["hash"], now["data"]["hash"]),
        ("input", saved["data"]["input_shape"], now["data"]["input_shape"]),
    ]
    was, given = saved["design"] or {}, now["design"] or {}
    found += [(f"design {key}", was.get(key), given.get(key)) for key in {**was, **given}]
    keys = saved["recipe"]
    found += [(f"recipe {key}", keys[key], now["recipe"].get(key)) for key in keys]
    found += [(key, saved[key], now[key]) for key in ("seed", "weights")]
    # Older versions, and a training that is resumed without its first weights, do not know them.
    contents = {"source": "model's source", "weights_hash": "weights' content"}
    found += [
        (text, saved[key], now[key])
        for key, text in contents.items()
        if saved.get(key) is not None and now[key] is not None
    ]
    return found


def _text(value: object) -> str:
    if isinstance(value, list):
        return json.dumps(value)
    return "none" if value is None else str(value)
