"""Readers of a training's folder: what it is, its checkpoint, its test result."""

import io
import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import SGD

from bamsearch.errors import BamsearchError
from bamsearch.evidence.verify.trainings import HeldOutResult
from bamsearch.records import Design
from bamsearch.records.run_files import read_run
from bamsearch.training.engine import state_of
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder
from bamsearch.training.initial_model import _pixels
from bamsearch.training.metadata import METADATA, design_of
from bamsearch.training.recipe import Recipe
from bamsearch.training.trainer import make_schedule, restore

from .mutations import WILD, spoil_bytes
from .reader import RUNS, Reader


def training_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    training_folder = folder / "training"
    training_folder.mkdir()
    (training_folder / CHECKPOINT_FILE).write_bytes(b"")
    metadata = _about()

    def facts(content: bytes) -> object:
        (training_folder / "train.json").write_bytes(content)
        usual = ((0.5,) * 3, (0.5,) * 3)
        pixels = _pixels(
            Design("resnet18", (3, 32, 32)), training_folder / "model.safetensors", usual
        )
        assert [len(image) for image in pixels] == [3, 3]
        with suppress(BamsearchError):
            state_of(training_folder, metadata)
        result = METADATA.read(training_folder / "train.json")
        return design_of(result), Recipe.from_dict(result["recipe"])

    tested = HeldOutResult(np.arange(1003) % 3 > 0).to_json().encode()
    return {
        "train.json": Reader((json.dumps(metadata).encode(),), facts),
        "test.json": Reader((tested,), lambda content: HeldOutResult.from_json(content)),
        "checkpoint.pt": _checkpoint(training_folder, metadata),
    }


def _about() -> dict[str, Any]:
    run = read_run(RUNS["trained"])
    return {
        "design": json.loads(run.design(()).to_json()),
        "data": asdict(run.data) | {"input_shape": list(run.data.input_shape)},
        "recipe": dict(run.recipe),
        "seed": 0,
        "weights": None,
        "source": "sha256 0123456789abcdef",
        "weights_hash": None,
        "fresh": [],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
    }


class _Parts:
    """A training of two layers, with a step behind it."""

    def __init__(self, recipe: Recipe) -> None:
        self.network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.optimizer = SGD(self.network.parameters(), lr=0.1, momentum=0.9)
        self.schedule = make_schedule(self.optimizer, recipe, 4)

    def step(self) -> None:
        self.network(torch.ones(4, 2)).sum().backward()
        self.optimizer.step()
        self.schedule.step()


def _checkpoint(training_folder: Path, metadata: dict[str, Any]) -> Reader:
    recipe = Recipe.from_dict(metadata["recipe"])
    parts = _Parts(recipe)
    parts.step()
    names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    row = {"epoch": 1, "lr": 0.1, "seconds": 1.5} | dict.fromkeys(names, 0.5)
    state = {
        "bamsearch_checkpoint": 1,
        "about": metadata,
        "model": parts.network.state_dict(),
        "optimizer": parts.optimizer.state_dict(),
        "scheduler": parts.schedule.state_dict(),
        "scaler": {},
        "progress": {"epoch": 1, "step": 1, "steps": 4, "images": 64, "rows": [row]},
    }

    def read(content: bytes) -> object:
        (training_folder / CHECKPOINT_FILE).write_bytes(content)
        result = TrainingFolder(training_folder).read_checkpoint()
        fresh = _Parts(recipe)
        restore(fresh.network, fresh.optimizer, fresh.schedule, None, result)
        fresh.step()
        return result

    return Reader((_saved(state),), read, False, _spoil)


def _spoil(content: bytes, pick: Any) -> bytes:
    """A checkpoint with other values in one or two places, or other bytes."""
    if pick([False, False, True]):
        return spoil_bytes(content, pick)
    wild = [value for value in WILD if not (isinstance(value, int) and abs(value) > 2**64)]
    wild += [torch.ones(2), {0: torch.ones(3, 2)}, (1, 2)]
    changed: Any = torch.load(io.BytesIO(content), weights_only=True)
    for _ in range(pick([1, 1, 2])):
        inside, key = _place(changed, pick)
        if pick([False, False, True]):
            del inside[key]
        else:
            inside[key] = deepcopy(pick(wild))
    return _saved(changed)


def _place(value: Any, pick: Any) -> tuple[Any, Any]:
    while True:
        key = pick(list(value) if isinstance(value, dict) else range(len(value)))
        deeper = value[key]
        if not isinstance(deeper, dict | list) or not deeper or pick([True, False, False]):
            return value, key
        value = deeper


def _saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
