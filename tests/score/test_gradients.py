"""grad_norm, snip and zico against the textbook gradient of a linear classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bamsearch.errors import ScoreError
from bamsearch.score.zero_cost import grad_norm, snip, zico

torch.manual_seed(0)
IMAGES = torch.randn(4, 2, 3, 2)
LABELS = [0, 1, 2, 3]  # of four classes, by batch_of's targets
FLAT = IMAGES.flatten(1)


class TwoHeads(nn.Module):
    """Named outputs: a linear classifier of all pixels, and a dense one of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.dense = nn.Linear(12, 4), nn.Conv2d(2, 4, 1)
        self.unused = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.flat(x.flatten(1)), "dense": self.dense(x)}


@pytest.fixture
def net() -> TwoHeads:
    torch.manual_seed(1)
    return TwoHeads()


@pytest.fixture
def gradients(net, linear_gradient):
    """The two weights' gradients for some of the images: a convolution of 1x1 averaged over the
    positions is a linear layer of the averaged image."""

    def of(rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        labels = LABELS[rows]
        weight = net.dense.weight.flatten(1)
        means = IMAGES[rows].mean((2, 3))
        return (
            linear_gradient(net.flat.weight, net.flat.bias, FLAT[rows], labels),
            linear_gradient(weight, net.dense.bias, means, labels),
        )

    return of


def test_grad_norm(net, gradients, batch_of) -> None:
    expected = sum(np.sqrt((gradient**2).sum()) for gradient in gradients())
    assert grad_norm(net, batch_of(IMAGES)) == pytest.approx(expected, rel=1e-5)


def test_snip(net, gradients, batch_of) -> None:
    weights = (net.flat.weight, net.dense.weight.flatten(1))
    expected = sum(
        np.abs(weight.detach().numpy() * gradient).sum()
        for weight, gradient in zip(weights, gradients(), strict=True)
    )
    assert snip(net, batch_of(IMAGES)) == pytest.approx(expected, rel=1e-5)


def test_zico(net, gradients, batch_of) -> None:
    halves = zip(gradients(slice(0, 2)), gradients(slice(2, 4)), strict=True)
    expected = 0.0
    for pair in halves:
        absolute = np.abs(np.stack(pair))
        expected += math.log((absolute.mean(axis=0) / absolute.std(axis=0)).sum())
    # a ratio of nearly equal float32 gradients is known to fewer digits than they are
    assert zico(net, batch_of(IMAGES)) == pytest.approx(expected, rel=1e-3)


def test_zico_leaves_out_what_does_not_vary(batch_of) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.live, self.dead = nn.Linear(12, 4), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.live(x.flatten(1)) + 0 * self.dead(x.flatten(1))

    net, images = Dead(), IMAGES.clone()
    with_dead = zico(net, batch_of(images))
    alone = nn.Sequential(nn.Flatten(), net.live)
    # both give the live layer's logits, 0 aside
    with torch.no_grad():
        net.dead.weight.zero_()
        net.dead.bias.zero_()
    assert with_dead == pytest.approx(zico(alone, batch_of(images)), rel=1e-3)
    images[:, :] = images[:1]
    same = batch_of(images)
    same.targets.zero_()
    with pytest.raises(ScoreError, match="are the same for every mini-batch"):
        zico(net, same)


def test_normed_by_the_batch_without_dropout(batch_of) -> None:
    norm = nn.BatchNorm2d(2, affine=False)
    norm.running_mean.fill_(100.0)
    head = nn.Linear(12, 4)
    net = nn.Sequential(norm, nn.Flatten(), nn.Dropout(0.9), head)
    mean = IMAGES.mean((0, 2, 3), keepdim=True)
    variance = IMAGES.var((0, 2, 3), correction=0, keepdim=True)
    normed = (IMAGES - mean) / (variance + norm.eps).sqrt()
    assert grad_norm(net, batch_of(IMAGES)) == pytest.approx(
        grad_norm(nn.Sequential(nn.Flatten(), head), batch_of(normed)), rel=1e-5
    )


@pytest.mark.parametrize("score", [grad_norm, snip, zico])
def test_nothing_is_written_to_the_network(score, batch_of) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(24, 4))
    net[0].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    first = score(net, batch_of(IMAGES))
    assert score(net, batch_of(IMAGES)) == first
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None for parameter in net.parameters())
    # frozen weights count as all others do
    assert not net[0].weight.requires_grad
    net[0].weight.requires_grad_()
    assert score(net, batch_of(IMAGES)) == first


@pytest.mark.parametrize("score", [grad_norm, snip, zico])
def test_no_weights(score, batch_of) -> None:
    with pytest.raises(ScoreError, match="BatchNorm2d has no convolution or linear layer"):
        score(nn.BatchNorm2d(2), batch_of(IMAGES))
