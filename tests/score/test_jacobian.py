"""jacob_cov against Jacobians that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from bamsearch.score.zero_cost import jacob_cov


def expected(jacobian: np.ndarray) -> float:
    eigenvalues = np.linalg.eig(np.corrcoef(jacobian))[0].real + 1e-5
    return -sum(math.log(value) + 1 / value for value in eigenvalues)


def test_one_hidden_layer(batch_of) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 9).double(), nn.Linear(9, 3).double()
    images = torch.randn(4, 1, 2, 3, dtype=torch.float64)
    w1, w2 = first.weight.detach().numpy(), second.weight.detach().numpy()
    active = images.flatten(1).numpy() @ w1.T + first.bias.detach().numpy() > 0
    # d(sum of outputs)/dx of one image: the columns of W2 that are on, times their rows of W1
    jacobian = np.stack([(w2.sum(axis=0) * on) @ w1 for on in active])
    net = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
    assert jacob_cov(net, batch_of(images)) == pytest.approx(expected(jacobian), rel=1e-9)
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


def test_unrelated_images_score_the_most(batch_of) -> None:
    class Squares(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) ** 2 / 2  # the Jacobian is the image itself

    # rows of mean 0 and at right angles: the correlation is the unit matrix, its eigenvalues 1
    rows = [[1.0, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    images = torch.tensor(rows, dtype=torch.float64).view(3, 1, 2, 2)
    best = -3 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5))
    assert jacob_cov(Squares(), batch_of(images)) == pytest.approx(best, rel=1e-12)
    # a copy of an image: eigenvalues 2, 1 and 0
    images[1] = images[0]
    copied = -sum(math.log(value + 1e-5) + 1 / (value + 1e-5) for value in (2, 1, 0))
    assert jacob_cov(Squares(), batch_of(images)) == pytest.approx(copied, rel=1e-6)


def test_outputs_that_do_not_depend_on_the_image(batch_of) -> None:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 0 * x.flatten(1)

    assert math.isnan(jacob_cov(Nothing(), batch_of(torch.randn(3, 1, 2, 2))))
