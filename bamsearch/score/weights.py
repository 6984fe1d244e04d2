"""Calls a network with substituted tensors, so that a score does not modify it.

The networks of a search share their base weights: nothing may write to them, and gradients must not
accumulate there. A score uses detached views instead, and copies of the buffers, which batch norm
writes to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch, loss_of


def weight_names(module: nn.Module) -> list[str]:
    """The names of the weights of all convolutions and linear layers; tied weights once.

    The scores sum over these weights, as in arXiv 2101.08134: no biases, no norms.

    Raises:
        ScoreError: no such layer.
    """
    weights = {
        id(layer.weight)
        for layer in module.modules()
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear)
    }
    names = [name for name, value in module.named_parameters() if id(value) in weights]
    if not names:
        raise ScoreError(
            f"{type(module).__name__} has no convolution or linear layer whose weights could be "
            "scored"
        )
    return names


def use_batch_statistics(module: nn.Module) -> None:
    """Put a network into the mode for scoring: eval, but batch norms use batch statistics.

    With random weights, running statistics are meaningless, and without normalisation the
    activations of deep networks explode. Dropout and stochastic depth stay off: their noise would
    hide differences between designs. Auxiliary heads that exist in train mode only (GoogLeNet,
    Inception) are not scored.
    """
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = True  # not train(): timm's norms contain a dropout


def call(module: nn.Module, tensors: Mapping[str, Tensor], images: Tensor) -> object:
    """Call a network with some of its parameters and buffers replaced.

    Args:
        module: network; neither its parameters nor its buffers are modified.
        tensors: replacements by name; the other buffers are copied.
        images: input.
    """
    buffers = {name: value.clone() for name, value in module.named_buffers() if name not in tensors}
    output: object = functional_call(module, {**buffers, **tensors}, (images,))
    return output


def weight_gradients(module: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """The weights that the loss depends on, with their gradients.

    Args:
        module: network; it is put into the mode of :func:`use_batch_statistics`.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that defines a loss.
    """
    use_batch_statistics(module)
    chosen = weight_names(module)
    tensors = {name: value.detach() for name, value in module.named_parameters()}
    for name in chosen:
        tensors[name].requires_grad_()
    loss = loss_of(call(module, tensors, batch.images), batch)
    weights = [tensors[name] for name in chosen]
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    return [
        (weight.detach(), gradient)
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    ]
