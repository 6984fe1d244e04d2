"""What the tests of the scores share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bamsearch.graph.models import build_model
from bamsearch.graph.network import find_network
from bamsearch.graph.sites import sites_of
from bamsearch.records import Cost, Design, Insertion, ModelSummary
from bamsearch.score.batch import Batch


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Toy(nn.Module):
    """Three stages of 16, 32 and 64 channels, each with a site: layer1, layer2, layer3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = stage(3, 16, 1)
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(self.pool(x).flatten(1))


@pytest.fixture(scope="session")
def toy() -> Toy:
    """One for all tests: nothing may change it."""
    torch.manual_seed(0)
    return Toy().eval()


def survey(model: str, module: nn.Module, input_shape: tuple[int, ...]) -> ModelSummary:
    """A summary whose costs are not counted, which takes seconds."""
    network = find_network(module, input_shape)
    sites = tuple(sites_of(network))
    cost = Cost(1000, 2000, 1500)
    return ModelSummary(model, input_shape, network.path, network.input_shape, sites, cost)


@pytest.fixture(scope="session")
def summary_of() -> Callable[..., ModelSummary]:
    """``summary_of(name, module, input_shape)``: a summary whose costs are made up."""
    return survey


@pytest.fixture(scope="session")
def summary(toy) -> ModelSummary:
    """Summary of the toy at 16x16."""
    result = survey("toy", toy, (3, 16, 16))
    assert [site.name for site in result.sites] == ["layer1", "layer2", "layer3"]
    return result


@pytest.fixture(scope="session")
def resnet18() -> ModelSummary:
    """Of resnet18 at 32x32, for what builds a model by its name."""
    return survey("resnet18", build_model("resnet18", initialise=False), (3, 32, 32))


@pytest.fixture
def design() -> Callable[..., Design]:
    """``design(("layer1", 16, 4), …)``: a design of the toy, or of another ``model``."""

    def make(*insertions: tuple[str, int, int], model: str = "toy", **others: str) -> Design:
        placed = tuple(Insertion(*insertion) for insertion in insertions)
        return Design(model, (3, 16, 16) if model == "toy" else (3, 32, 32), placed, **others)

    return make


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """``batch_of(images)``: images with targets 0, 1/N, 2/N, … of the classes."""

    def make(images: Tensor) -> Batch:
        return Batch(images, torch.arange(len(images), dtype=torch.float64) / len(images))

    return make


@pytest.fixture
def linear_gradient() -> Callable[..., np.ndarray]:
    """Gradient by a linear layer's weight of the mean cross-entropy, by its textbook formula."""

    def gradient(weight: Tensor, bias: Tensor, rows: Tensor, labels: list[int]) -> np.ndarray:
        w, b, x = (tensor.detach().double().numpy() for tensor in (weight, bias, rows))
        logits = x @ w.T + b
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = exponentials / exponentials.sum(axis=1, keepdims=True)
        p[np.arange(len(x)), labels] -= 1
        return p.T @ x / len(x)

    return gradient
