import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.records import Design, Insertion
from bamsearch.training.recipe import Recipe

NETS = Path(__file__).with_name("nets.py")


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture
def design() -> Callable[..., Design]:
    """``design(("1", 4, 2))``: the small network with BAM after those sites."""

    def make(*insertions: tuple[str, int, int], **others) -> Design:
        placed = [Insertion(*insertion) for insertion in insertions]
        return Design(f"{NETS}:small", (3, 8, 8), placed, **({"num_classes": 10} | others))

    return make


@pytest.fixture
def quick() -> Recipe:
    """Two epochs, augmented."""
    return Recipe("quick", epochs=2, batch_size=256, lr=0.1, augment="crop")


@pytest.fixture
def outcome() -> Callable[[Path], tuple]:
    """``outcome(folder)``: the weights of a training as bytes, and its metrics without the time."""

    def read(folder: Path) -> tuple:
        weights = load_file(folder / "model.safetensors")
        with open(folder / "metrics.csv", newline="") as file:
            rows = [
                {k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)
            ]
        return {name: value.numpy().tobytes() for name, value in weights.items()}, rows

    return read
