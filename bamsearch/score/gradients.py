"""grad_norm and snip: how strongly the loss depends on the weights, at the start of training."""

from __future__ import annotations

import torch
from torch import nn

from bamsearch.score.batch import Batch
from bamsearch.score.weights import weight_gradients


def grad_norm(module: nn.Module, batch: Batch) -> float:
    """The Euclidean norms of the weights' gradients, summed over layers.

    Abdelfattah et al. 2021, arXiv 2101.08134, with L the cross-entropy with random labels::

        grad_norm = Σ_l ‖∂L/∂W_l‖_2     over convolutions and linear layers

    Batch: 4 images; with 2, BAM's channel branch would see its batch norm return ±1 and learn
    nothing. Cost: 1 forward and 1 backward. Known failure: on NAS-Bench-Suite-Zero its correlation
    with accuracy turns from +0.62 over the space to -0.57 among networks of one size.

    Args:
        module: the network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that a loss could be made of.
    """
    norms = (
        torch.linalg.vector_norm(gradient, dtype=torch.float64)
        for _, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, norms))


def snip(module: nn.Module, batch: Batch) -> float:
    """How much the loss would change, to first order, with each weight removed; their sum.

    Lee et al. 2019, arXiv 1810.02340, made a score of architectures by Abdelfattah et al. 2021,
    arXiv 2101.08134, with L the cross-entropy with random labels::

        snip = Σ_w |w · ∂L/∂w|     over weights of convolutions and linear layers

    Batch: 4 images, as for :func:`grad_norm`. Cost: 1 forward and 1 backward. Known failure: a sum
    over all weights grows with their number, and with the scale of the gradients.

    Args:
        module: the network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that a loss could be made of.
    """
    removed = (
        (weight * gradient).abs().sum(dtype=torch.float64)
        for weight, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, removed))
