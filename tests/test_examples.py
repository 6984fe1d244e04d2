import pytest
import torch

from bamsearch import find_sites, insert_bam
from bamsearch.examples import Shortcut, resnet20, resnet56
from bamsearch.profiling.summary import summarise

# 3x3 convolutions, two numbers a channel for each batch norm, no parameters in the shortcuts;
# the paper's table 6 has 0.27 M and 0.85 M
STEM, HEAD = 3 * 16 * 9 + 32, 64 * 10 + 10


def stage(channels: int, width: int, blocks: int) -> int:
    convolutions = channels * width * 9 + (2 * blocks - 1) * width * width * 9
    return convolutions + 2 * blocks * 2 * width


@pytest.mark.parametrize(("factory", "n", "published"), [(resnet20, 3, 0.27), (resnet56, 9, 0.85)])
def test_parameters(factory, n, published):
    params = sum(p.numel() for p in factory().parameters())
    assert params == STEM + stage(16, 16, n) + stage(16, 32, n) + stage(32, 64, n) + HEAD
    assert round(params / 1e6, 2) == published


@pytest.mark.parametrize(("factory", "layers"), [(resnet20, 20), (resnet56, 56)])
def test_weighted_layers(factory, layers):
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert sum(isinstance(module, kinds) for module in factory().modules()) == layers


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_the_papers_two_bottlenecks_and_the_head(name):
    sites = summarise(f"bamsearch.examples:{name}", (32, 32), 10).sites
    result = [(s.name, s.kind, s.channels, s.height) for s in sites if s.kind != "block"]
    assert result == [
        ("layer1", "bottleneck", 16, 32),
        ("layer2", "bottleneck", 32, 16),
        ("layer3", "head", 64, 8),
    ]


@pytest.mark.parametrize("size", [8, 28, 32, 33])
def test_sizes_and_classes(size):
    model = resnet20(num_classes=7)
    images = torch.randn(2, 3, size, size)
    assert model(images).shape == (2, 7)
    with_bam = insert_bam(model, (3, size, size))
    assert with_bam(images).shape == (2, 7)
    assert len(find_sites(model, (3, size, size))) >= 3


def test_the_shortcut_keeps_every_second_pixel_and_adds_zeros():
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = Shortcut(2)(x)
    assert y[0, :, 0, 0].tolist() == [0, 0, 16, 0]
    assert y[0, 1].tolist() == [[0, 2], [8, 10]]
    assert y.shape == (1, 4, 2, 2)
