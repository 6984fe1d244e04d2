"""zico: whether the weights' gradients are large and the same from batch to batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch
from bamsearch.score.weights import weight_gradients


def zico(module: nn.Module, batch: Batch) -> float:
    """The inverse coefficient of variation of the gradients.

    Li et al. 2023, arXiv 2301.11300, mean and standard deviation over mini-batches, here two, and L
    the cross-entropy with random labels::

        zico = Σ_l log Σ_{w in W_l} mean|∂L/∂w| / std|∂L/∂w|     over convolutions, linear layers

    Weights whose deviation is 0 are left out. (The authors' code takes the deviation of the signed
    gradients; this is the formula of the paper.)

    Batch: 2 mini-batches of 2 images. Cost: 2 forwards and 2 backwards. Known failure: each layer
    adds the logarithm of a number well above 1, so that the score counts layers, and BAM brings
    six; with two mini-batches the ratio has a heavy tail.

    Args:
        module: the network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels; its halves are the mini-batches.

    Raises:
        ScoreError: no weights, no output that a loss could be made of, or the mini-batches'
            gradients do not differ.
    """
    runs = [weight_gradients(module, half) for half in batch.halves()]
    layers = [_layer(one, other) for (_, one), (_, other) in zip(*runs, strict=True)]
    varying = [layer for layer in layers if layer > 0]
    if not varying:
        raise ScoreError(
            f"the gradients of {type(module).__name__} are the same for every mini-batch: "
            "zico has nothing to compare, take another score"
        )
    return sum(map(math.log, varying))


def _layer(one: Tensor, other: Tensor) -> float:
    """A layer's sum of mean over standard deviation of two absolute gradients, where they differ.

    The mean is half their sum, the deviation half the distance between them.
    """
    one, other = one.abs(), other.abs()
    ratio = (one + other) / (one - other).abs()
    return float(ratio.masked_fill_(one == other, 0.0).sum(dtype=torch.float64))
