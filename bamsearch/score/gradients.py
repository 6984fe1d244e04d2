"""grad_norm and snip: the sensitivity of the loss to the weights at initialisation."""

from __future__ import annotations

import torch
from torch import nn

from bamsearch.score.batch import Batch
from bamsearch.score.weights import weight_gradients


def grad_norm(module: nn.Module, batch: Batch) -> float:
    """The sum over layers of the Euclidean norms of the weight gradients.

    Abdelfattah et al. 2021, arXiv 2101.08134, with L the cross-entropy with random labels::

        grad_norm = Σ_l ‖∂L/∂W_l‖_2     over convolutions and linear layers

    Batch: 4 images; with 2, the batch norm of BAM's channel branch would always return ±1, and the
    branch would have no gradient. Cost: 1 forward and 1 backward. Known failure: on
    NAS-Bench-Suite-Zero its correlation with accuracy drops from +0.62 over the space to -0.57
    among networks of equal size.

    Args:
        module: network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that defines a loss.
    """
    norms = (
        torch.linalg.vector_norm(gradient, dtype=torch.float64)
        for _, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, norms))


def snip(module: nn.Module, batch: Batch) -> float:
    """The sum over weights of the first-order change of the loss when the weight is removed.

    Lee et al. 2019, arXiv 1810.02340; as a score of architectures, Abdelfattah et al. 2021, arXiv
    2101.08134. L is the cross-entropy with random labels::

        snip = Σ_w |w · ∂L/∂w|     over weights of convolutions and linear layers

    Batch: 4 images, as for :func:`grad_norm`. Cost: 1 forward and 1 backward. Known failure: a sum
    over all weights grows with their number and with the scale of the gradients.

    Args:
        module: network; it is put into eval mode with batch norms on batch statistics.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that defines a loss.
    """
    removed = (
        (weight * gradient).abs().sum(dtype=torch.float64)
        for weight, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, removed))
