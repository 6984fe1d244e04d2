"""Batch normalisation that can train on a single value per channel.

BAM's channel branch has one value per channel and input, so torch's BatchNorm refuses to train it
with a batch of one (as for the spatial branch on a 1x1 map). Here a single value, which has no
variance, is normalised by the running statistics, which stay unchanged. With two or more values,
this equals :class:`torch.nn.BatchNorm2d`.

The case distinction uses tensor operations instead of a Python branch on a size, so that a traced
or exported graph supports every batch size.
"""

from __future__ import annotations

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F


def batch_normalise(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    weight: Tensor,
    bias: Tensor,
    momentum: float | None,
    eps: float,
) -> Tensor:
    """Train-mode batch norm over all axes but 1; updates the running statistics in place.

    Args:
        x: (N, C) or (N, C, H, W).
        running_mean: (C,), moved towards the mean of x.
        running_var: (C,), moved towards the unbiased variance of x.
        batches: (), number of batches; single values do not count.
        weight: (C,).
        bias: (C,).
        momentum: weight of the new statistics; None gives all batches equal weights.
        eps: constant added to the variance.

    Returns:
        x normalised, in x's shape and dtype.
    """
    axes = [0, *range(2, x.dim())]
    column = [-1] + [1] * (x.dim() - 2)
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    count = values.new_full((), x[:, 0].numel())
    several = count > 1
    var, mean = torch.var_mean(values, axes, correction=0)
    mean = torch.where(several, mean, running_mean.to(mean.dtype))
    var = torch.where(several, var, running_var.to(var.dtype))
    with torch.no_grad():
        # For a single value both statistics are moved towards themselves: no change.
        unbiased = var * (count / (count - 1).clamp(min=1))
        batches.add_(several)
        share: float | Tensor = running_mean.new_ones(()) / batches.clamp(min=1)
        if momentum is not None:
            share = momentum
        running_mean.lerp_(mean.to(running_mean.dtype), share)
        running_var.lerp_(unbiased.to(running_var.dtype), share)
    scale = (weight * torch.rsqrt(var + eps)).to(values.dtype)
    shift = bias.to(values.dtype)
    centred = values - mean.view(column)
    return torch.addcmul(shift.view(column), centred, scale.view(column)).to(x.dtype)


# A single node in a torch.fx graph: traced through, the in-place updates would be dead code.
torch.fx.wrap("batch_normalise")


class _SingleValues(nn.modules.batchnorm._BatchNorm):
    """Forward of a batch norm that trains on a single value per channel.

    The value is normalised by the running statistics, which stay unchanged, as does
    ``num_batches_tracked``.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over all axes but the second."""
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if self.training and mean is not None and var is not None and batches is not None:
            return batch_normalise(
                input, mean, var, batches, self.weight, self.bias, self.momentum, self.eps
            )
        # Without running statistics, torch uses batch statistics in both modes.
        return F.batch_norm(input, mean, var, self.weight, self.bias, mean is None, 0.0, self.eps)


class BatchNorm1d(_SingleValues, nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` for (N, C) that trains on N = 1."""


class BatchNorm2d(_SingleValues, nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` for (N, C, H, W) that trains on N·H·W = 1."""
