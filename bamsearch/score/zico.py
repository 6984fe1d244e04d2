"""zico: whether the weight gradients are large and consistent between mini-batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch
from bamsearch.score.weights import weight_gradients


def zico(module: nn.Module, batch: Batch) -> float:
    """The inverse coefficient of variation of the gradients.

    Li et al. 2023, arXiv 2301.11300, with mean and standard deviation over mini-batches, here two,
    and L the cross-entropy with random labels::

        zico = Σ_l log Σ_{w in W_l} mean|∂L/∂w| / std|∂L/∂w|     over convolutions, linear layers

    Weights whose deviation is 0 are left out. (The authors' code uses the deviation of the signed
    gradients; this is the formula of the paper.)

    Batch: 2 mini-batches of 2 images. Cost: 2 forwards and 2 backwards. Known failure: each layer
    adds the logarithm of a number well above 1, so the score counts layers, six for every BAM; with
    two mini-batches the ratio has a heavy tail.

    Args:
        module: network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels; its halves are the mini-batches.

    Raises:
        ScoreError: no weights, no output that defines a loss, or gradients that do not differ
            between the mini-batches.
    """
    runs = [weight_gradients(module, half) for half in batch.halves()]
    layers = [_layer(first, second) for (_, first), (_, second) in zip(*runs, strict=True)]
    varying = [layer for layer in layers if layer > 0]
    if not varying:
        raise ScoreError(
            f"the gradients of {type(module).__name__} are the same for every mini-batch: "
            "zico has nothing to compare, choose another score"
        )
    return sum(map(math.log, varying))


def _layer(first: Tensor, second: Tensor) -> float:
    """The sum over a layer's weights of mean over deviation of two absolute gradients.

    The mean of two numbers is half their sum, their deviation half their distance.
    """
    a, b = first.abs(), second.abs()
    ratio = (a + b) / (a - b).abs()
    return float(ratio.masked_fill_(a == b, 0.0).sum(dtype=torch.float64))
