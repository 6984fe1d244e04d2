"""jacob_cov: whether the outputs have different gradients at different images."""

from __future__ import annotations

import torch
from torch import nn

from bamsearch.score.batch import Batch, logits_of
from bamsearch.score.weights import call, use_batch_statistics

_K = 1e-5


def jacob_cov(module: nn.Module, batch: Batch) -> float:
    """A score that is high if the output gradients at different images are uncorrelated.

    Mellor et al. 2020, arXiv 2006.04647v1 (the published version has another score,
    :func:`bamsearch.score.naswot.naswot`), as in Abdelfattah et al. 2021, arXiv 2101.08134. Row n
    of J is the gradient of the sum of all outputs with respect to image n; λ are the eigenvalues of
    the correlation matrix of the rows::

        jacob_cov = -Σ_n (log(λ_n + k) + 1 / (λ_n + k)),     k = 1e-5

    Batch: 4 images. Cost: 1 forward and 1 backward to the images, without weight gradients. Known
    failure: with batch norm the gradients hardly correlate in any design and all eigenvalues are
    near 1, so scores differ in the fifth digit, and another seed orders the designs differently.

    Args:
        module: network; it is put into eval mode with batch norms on batch statistics.
        batch: images; the labels are not used.

    Returns:
        The score, at most -N; nan if the sum of the outputs does not depend on an image.

    Raises:
        ScoreError: no output with a channel axis.
    """
    use_batch_statistics(module)
    tensors = {name: value.detach() for name, value in module.named_parameters()}
    images = batch.images.detach().clone().requires_grad_()
    total = torch.stack([o.sum() for o in logits_of(call(module, tensors, images), len(images))])
    (jacobian,) = torch.autograd.grad(total.sum(), images)
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if not correlation.isfinite().all():
        return float("nan")
    shifted = torch.linalg.eigvalsh(correlation) + _K
    return -float((shifted.log() + 1 / shifted).sum())
