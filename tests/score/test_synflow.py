"""The synaptic flow against products of absolute weights, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops.misc import FrozenBatchNorm2d

from bamsearch.attention.bam import BAM
from bamsearch.errors import ScoreError
from bamsearch.score.batch import make_batch
from bamsearch.score.zero_cost import synflow

IMAGE = make_batch((1, 1, 2), 1, 0)


def linear(rows: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


FIRST = [[1.0, -2.0], [-3.0, 0.5], [0.0, 4.0]]  # rows of |W|: 3, 3.5, 4
SECOND = [[2.0, -1.0, 0.5], [-1.0, 1.0, -2.0]]  # columns of |W|: 3, 2, 2.5
FLOW = 3 * 3 + 3.5 * 2 + 4 * 2.5  # 1ᵀ|W2||W1|1 = 26; each of the two layers has Σ w ∂R/∂w = R


def test_two_linear_layers() -> None:
    net = nn.Sequential(nn.Flatten(), linear(FIRST), nn.ReLU(), linear(SECOND))
    assert synflow(net, IMAGE) == pytest.approx(math.log(2 * FLOW), rel=1e-12)


def test_biases_flow_but_are_not_counted() -> None:
    net = nn.Sequential(nn.Flatten(), linear(FIRST, [-1, 0, 2]), linear(SECOND, [5, -7]))
    # the first layer's weights carry 26; the second's also what the first's biases bring
    second = (3 + 1) * 3 + (3.5 + 0) * 2 + (4 + 2) * 2.5
    assert synflow(net, IMAGE) == pytest.approx(math.log(FLOW + second), rel=1e-12)


class FunctionalNorm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[1:])


@pytest.mark.parametrize(
    "between", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3), FunctionalNorm()]
)
def test_norms_are_left_out(between: nn.Module) -> None:
    if isinstance(between, nn.BatchNorm1d):
        between.running_mean.fill_(100.0)
        between.running_var.fill_(9.0)
    net = nn.Sequential(nn.Flatten(), linear(FIRST), between, linear(SECOND))
    assert synflow(net, IMAGE) == pytest.approx(math.log(2 * FLOW), rel=1e-12)


def test_relu6_has_no_ceiling() -> None:
    big = [[10 * value for value in row] for row in FIRST]
    for cap in (nn.ReLU6(), nn.Hardtanh(0, 6)):
        net = nn.Sequential(nn.Flatten(), linear(big), cap, linear(SECOND))
        assert synflow(net, IMAGE) == pytest.approx(math.log(20 * FLOW), rel=1e-12)


def test_frozen_norms_are_left_out() -> None:
    frozen = FrozenBatchNorm2d(2)
    frozen.running_mean.fill_(50.0)
    frozen.bias.fill_(-3.0)
    frozen.weight.fill_(7.0)
    conv = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([-2.0, 3.0]).view(2, 1, 1, 1))
    # dense maps are averaged over their positions: R = 2 + 3
    assert synflow(nn.Sequential(conv, frozen), IMAGE) == pytest.approx(math.log(5), rel=1e-9)


def test_all_outputs_are_summed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.unused = linear(FIRST), linear(SECOND), linear(FIRST)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            x = self.first(x.flatten(1))
            return {"aux": x, "out": self.second(x)}

    # the first layer carries both sums, 3 + 3.5 + 4 and 26, the second 26
    assert synflow(Two(), IMAGE) == pytest.approx(math.log(10.5 + 2 * FLOW), rel=1e-12)


def test_bam_doubles_the_flow_whatever_r_and_d() -> None:
    # The failure that the table names: for large maps the sigmoid is 1 and its gradient 0.
    first, last = nn.Conv2d(1, 16, 1, bias=False), nn.Conv2d(16, 2, 1, bias=False)
    nn.init.constant_(first.weight, 1e6)
    nn.init.ones_(last.weight)
    without = synflow(nn.Sequential(first, last), IMAGE)
    for reduction, dilation in ((16, 1), (1, 4)):
        torch.manual_seed(0)
        net = nn.Sequential(first, BAM(16, reduction, dilation), last)
        assert synflow(net, IMAGE) == pytest.approx(without + math.log(2), rel=1e-12)


@pytest.mark.parametrize("function", ["softmax", "torch", "method", "fused"])
def test_attention_averages(function) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            v = x.unsqueeze(-1) * torch.tensor([1.0, 3.0], dtype=x.dtype)
            q = k = 1e200 * v  # their product is beyond float64
            if function == "fused":
                return F.scaled_dot_product_attention(q, k, v)
            logits = q @ k.mT
            if function == "method":
                return logits.softmax(-1) @ v
            return (F.softmax if function == "softmax" else torch.softmax)(logits, dim=-1) @ v

    net = nn.Sequential(nn.Flatten(), linear(FIRST), Attention())
    # positions 3, 3.5, 4 in two channels, once and three times; dense maps are averaged
    # over the channels, which are the last axis here, and the three positions are all their mean
    assert synflow(net, IMAGE) == pytest.approx(math.log(3 * 3.5 * 2), rel=1e-12)


def test_beyond_float64() -> None:
    wide = linear([[1e30]])
    net = nn.Sequential(nn.Flatten(), linear([[1e30, 1e30]]), *[wide] * 12)
    assert synflow(net, IMAGE) == math.inf
    assert synflow(nn.Sequential(nn.Flatten(), linear([[0.0, 0.0]])), IMAGE) == -math.inf


def test_no_weights() -> None:
    with pytest.raises(ScoreError, match="Flatten has no convolution or linear layer"):
        synflow(nn.Flatten(), IMAGE)
