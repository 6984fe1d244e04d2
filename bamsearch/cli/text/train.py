"""A training and its results, as text and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.records import DataFacts, Design
from bamsearch.reporting.text import count_text, design_text, shape_text
from bamsearch.text import printable
from bamsearch.training.progress import EpochMetrics

if TYPE_CHECKING:
    from bamsearch.training.engine import Trained
    from bamsearch.training.request import TrainingPlan

HEADER = ["epoch", "lr", "train loss", "accuracy", "validation loss", "accuracy"]

CAUTION = (
    "One seed does not allow a comparison; the interval covers the images only. "
    "The test split was not read."
)


def title_text(design: Design, facts: DataFacts) -> str:
    """``resnet18 · 3×32×32 · BAM at layer1 r16 d4 · cifar10:DIR, 45,000 to train, 5,000 …``."""
    where = f"BAM at {design_text(design)}" if design.insertions else "no BAM"
    return (
        f"{printable(design.model)} · {shape_text(design.input_shape)} · {where}\n"
        f"{printable(facts.name)} · {facts.train:,} images to train, "
        f"{facts.validation:,} to validate · hash {facts.hash}"
    )


def recipe_text(planned: TrainingPlan) -> str:
    """Recipe, initial weights and seed, on one line."""
    recipe, weights = planned.recipe, planned.initial.weights
    schedule: str = recipe.schedule
    if recipe.milestones:
        schedule = f"steps after {', '.join(map(str, recipe.milestones))}"
    start = "random weights" if weights is None else f"weights {weights}"
    return (
        f"recipe {recipe.name}: {count_text(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, "
        f"lr {recipe.lr:g}, {schedule} · {start} · seed {planned.seed}"
    )


def print_trained(console: Console, trained: Trained) -> None:
    """Print all epochs and the validation accuracy."""
    console.table(HEADER, [cells(row) for row in trained.rows], "rrrrrr")
    low, high = trained.interval
    console.print(
        f"\nvalidation accuracy  {trained.accuracy:.2%}   "
        f"95% interval [{low:.2%}, {high:.2%}], {trained.right:,} of {trained.images:,} images"
    )
    console.print(CAUTION)


def trained_json(trained: Trained, planned: TrainingPlan, folder: Path) -> dict[str, Any]:
    """The output of ``train --json``."""
    return {
        "folder": str(folder),
        "design": json.loads(planned.design.to_json()),
        "data": asdict(planned.data.facts),
        "recipe": planned.recipe.to_dict(),
        "seed": planned.seed,
        "weights": planned.initial.weights,
        "epochs": [asdict(row) for row in trained.rows],
        "validation": {
            "accuracy": trained.accuracy,
            "interval_95": list(trained.interval),
            "right": trained.right,
            "images": trained.images,
        },
    }


def cells(row: EpochMetrics) -> list[str]:
    """The metrics of an epoch, by :data:`HEADER`."""
    return [
        str(row.epoch),
        f"{row.lr:.3g}",
        f"{row.train_loss:.4f}",
        f"{row.train_accuracy:.2%}",
        f"{row.validation_loss:.4f}",
        f"{row.validation_accuracy:.2%}",
    ]
