"""naswot against codes and Hamming distances counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bamsearch.attention.bam import BAM
from bamsearch.errors import ScoreError
from bamsearch.score.zero_cost import naswot


def expected(codes: list[np.ndarray]) -> float:
    count = len(codes)
    kernel = np.zeros((count, count))
    for m in range(count):
        for n in range(count):
            differ = sum(bool(a) != bool(b) for a, b in zip(codes[m], codes[n], strict=True))
            kernel[m, n] = len(codes[m]) - differ
    return np.linalg.slogdet(kernel)[1]


class Functional(nn.Module):
    def __init__(self, function, **options) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x.clone(), **self.options)


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.GELU()),
        *(nn.GELU("tanh"), nn.SiLU(), nn.SiLU(inplace=True), nn.Hardswish(), nn.LeakyReLU()),
        *(nn.ELU(), nn.PReLU(), nn.Mish(), nn.SELU()),
        *(Functional(f) for f in (F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu)),
        *(Functional(F.relu, inplace=True), Functional(torch.Tensor.relu_), Functional(F.relu6)),
        *(Functional(F.gelu), Functional(F.silu), Functional(F.hardswish)),
    ],
    ids=lambda a: getattr(getattr(a, "function", None), "__name__", str(a)),
)
def test_two_layers(activation, batch_of) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 9), nn.Linear(9, 5)
    images = torch.randn(4, 1, 2, 3)
    with torch.no_grad():
        hidden = first(images.flatten(1))
        last = second(activation(hidden.clone()))
    codes = np.concatenate([hidden.numpy() > 0, last.numpy() > 0], axis=1)
    net = nn.Sequential(nn.Flatten(), first, activation, second, activation)
    assert naswot(net, batch_of(images)) == pytest.approx(expected(list(codes)), rel=1e-9)


def test_other_functions_have_no_code(batch_of) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Sigmoid(), nn.Tanh())
    with pytest.raises(ScoreError, match="Sequential has no ReLU-like activation"):
        naswot(net, batch_of(torch.randn(4, 1, 2, 3)))


@pytest.mark.parametrize(
    ("layout", "shape", "frames"),
    [
        ("NCHW", (8, 5, 6), 1),
        ("NHWC", (5, 6, 8), 1),
        ("NCTHW", (8, 3, 5, 6), 3),
        ("NTHWC", (3, 5, 6, 8), 3),
    ],
)
def test_bams_own_relus_are_seen(layout, shape, frames, batch_of) -> None:
    # With one image the kernel is the number of activations: h of the channel branch, and three
    # hidden layers of h channels of the spatial one.
    bam, h = BAM(8, 4, 2, layout=layout), 2
    count = h + 3 * h * frames * 5 * 6
    assert naswot(bam, batch_of(torch.randn(1, *shape))) == pytest.approx(math.log(count))


def test_frames_belong_to_their_image(batch_of) -> None:
    class Frames(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(x.transpose(1, 2).flatten(0, 1))

    images = torch.randn(3, 1, 4, 2, 2)
    codes = images.transpose(1, 2).reshape(3, -1).numpy() > 0
    assert naswot(Frames(), batch_of(images)) == pytest.approx(expected(list(codes)))


def test_what_is_the_same_for_all_images_does_not_count(batch_of) -> None:
    class Table(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(x) + F.relu(torch.ones(1, 1, 1, 7)).sum()

    x = torch.randn(1, 1, 3, 4)
    # opposite images: nothing agrees, the kernel is the number of activations on its diagonal
    both = torch.cat([x, -x])
    assert naswot(Table(), batch_of(both)) == pytest.approx(2 * math.log(12))


def test_equal_codes(batch_of) -> None:
    x = torch.rand(1, 1, 3, 4)
    assert naswot(nn.ReLU(), batch_of(torch.cat([x, 2 * x]))) == -math.inf
