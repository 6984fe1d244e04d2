"""The norm against torch's own, and alone with a single value."""

import copy

import pytest
import torch
from torch import nn

from bamsearch.attention.norm import BatchNorm1d, BatchNorm2d

PAIRS = [
    (BatchNorm1d, nn.BatchNorm1d, (6, 4), (1, 4)),
    (BatchNorm2d, nn.BatchNorm2d, (3, 4, 5, 7), (1, 4, 1, 1)),
]


def pair(ours, torchs, **options):
    """Ours and torch's with the same random state."""
    theirs = torchs(4, **options)
    with torch.no_grad():
        theirs.weight.normal_()
        theirs.bias.normal_()
        if theirs.running_mean is not None:
            theirs.running_mean.normal_()
            theirs.running_var.uniform_(0.5, 2)
    mine = ours(4, **options)
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


@pytest.mark.parametrize(("ours", "torchs", "shape", "lone"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"momentum": 0.3, "eps": 0.1}])
def test_trains_like_torch(ours, torchs, shape, lone, options):
    mine, theirs = pair(ours, torchs, **options)
    for _ in range(3):
        x = torch.randn(shape) * 2 + 1
        ours_x, torchs_x = x.clone().requires_grad_(), x.clone().requires_grad_()
        slope = torch.randn(shape)
        (mine(ours_x) * slope).sum().backward()
        (theirs(torchs_x) * slope).sum().backward()
        torch.testing.assert_close(mine(x), theirs(x))
        torch.testing.assert_close(ours_x.grad, torchs_x.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(mine.bias.grad, theirs.bias.grad)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("ours", "torchs", "shape", "lone"), PAIRS)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_lone_value_uses_the_statistics_and_leaves_them(ours, torchs, shape, lone, momentum):
    mine, theirs = pair(ours, torchs, momentum=momentum)
    before = copy.deepcopy(mine.state_dict())
    x = torch.randn(lone, requires_grad=True)
    y = mine(x)
    torch.testing.assert_close(y, theirs.eval()(x))
    y.sum().backward()
    torch.testing.assert_close(
        x.grad.flatten(), (mine.weight / (mine.running_var + 1e-5).sqrt()).detach()
    )
    assert mine.weight.grad.isfinite().all()
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())


def test_one_image_of_several_positions_is_not_a_single_value():
    mine, theirs = pair(BatchNorm2d, nn.BatchNorm2d)
    x = torch.randn(1, 4, 1, 2)
    torch.testing.assert_close(mine(x), theirs(x))
    torch.testing.assert_close(mine.running_var, theirs.running_var)


def test_without_statistics_is_torchs():
    mine, theirs = pair(BatchNorm2d, nn.BatchNorm2d, track_running_stats=False)
    x = torch.randn(3, 4, 5, 7)
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x))
    torch.testing.assert_close(mine.train()(x), theirs.train()(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_keeps_the_dtype(dtype):
    mine, theirs = pair(BatchNorm2d, nn.BatchNorm2d)
    mine, theirs = mine.to(dtype), theirs.double()
    x = torch.randn(3, 4, 5, 7, dtype=dtype)
    y = mine(x)
    assert y.dtype == dtype
    # bfloat16 has 8 bits of fraction: one rounding of the weights, one of the result.
    tolerance = 0.03 if dtype == torch.bfloat16 else 1e-9
    torch.testing.assert_close(y.double(), theirs(x.double()), rtol=tolerance, atol=tolerance)
    assert mine.running_mean.dtype == dtype


def test_counts_more_values_than_half_precision_can():
    mine = BatchNorm2d(1).half()
    mine(torch.randn(1, 1, 300, 300, dtype=torch.half))  # 90000 > 65504
    assert mine.running_var.isfinite().all()


def test_tools_that_look_for_torchs_norms_find_it():
    assert isinstance(BatchNorm1d(4), nn.BatchNorm1d)
    assert isinstance(BatchNorm2d(4), nn.BatchNorm2d)
