"""What the tests of the supernet share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.records import Design, Insertion
from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.space import SlotSpace
from bamsearch.training.recipe import Recipe

NETS = Path(__file__).with_name("nets.py")
SITES = {"1": ((2, 4), (1, 2)), "3": ((2, 8), (1, 2))}


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture
def design() -> Callable[..., Design]:
    """``design(("1", 4, 2))``: the tiny network with BAM after those sites, "1" and "3"."""

    def make(*insertions: tuple[str, int, int], **others) -> Design:
        placed = [Insertion(*one) for one in insertions]
        return Design(f"{NETS}:tiny", (3, 8, 8), placed, **({"num_classes": 10} | others))

    return make


@pytest.fixture
def space(design) -> SlotSpace:
    """Sites of 8 and of 16 channels: h of 4 and 2, and of 8 and 2."""
    return SlotSpace(design(), SITES)


@pytest.fixture
def plan_of(space) -> Callable[..., SupernetPlan]:
    """``plan_of(paths=1)``: a plan with those options, of which every design is feasible."""

    def make(**options) -> SupernetPlan:
        def draw(numbers: np.random.Generator) -> Design:
            placed = []
            for name, (reductions, dilations) in SITES.items():
                if numbers.random() < 0.7:
                    r, d = int(numbers.choice(reductions)), int(numbers.choice(dilations))
                    placed.append(Insertion(name, r, d))
            return replace(space.base, insertions=tuple(placed))

        largest = space.widest()
        return SupernetPlan(space, draw, largest, space.base, SupernetOptions(**options))

    return make


@pytest.fixture
def quick() -> Recipe:
    """Two epochs of five steps, augmented."""
    return Recipe("quick", epochs=2, batch_size=256, lr=0.05, augment="crop")


def fill(module: nn.Module) -> None:
    """Other weights and statistics than a fresh network has, so that none is 0 or 1."""
    numbers = torch.Generator().manual_seed(5)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=numbers)
            value.copy_(noise + 0.5 if name.endswith("running_var") else (noise - 0.4) * 0.5)


@pytest.fixture
def filled() -> Callable[[SlotNetwork], SlotNetwork]:
    """``filled(network)``: with no weight or statistic as it started."""

    def change(network: SlotNetwork) -> SlotNetwork:
        fill(network.module)
        return network

    return change


@pytest.fixture
def bytes_of() -> Callable[[nn.Module], dict[str, bytes]]:
    """``bytes_of(module)``: its weights and statistics."""

    def read(module: nn.Module) -> dict[str, bytes]:
        return {name: _bytes(value) for name, value in module.state_dict().items()}

    return read


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().numpy().tobytes()
