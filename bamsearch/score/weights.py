"""Calling a network with tensors of our own, so that a score leaves no trace in it.

The networks of a search share the weights that BAM does not change: nothing may write to them, and
gradients must not pile up there. A score computes with detached views instead, and with copies of
the buffers, which batch norm writes to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch, loss_of


def weight_names(module: nn.Module) -> list[str]:
    """Names of the weights of all convolutions and linear layers; a tied one once.

    Those are what the scores are sums over, as in arXiv 2101.08134: no biases, no norms.

    Raises:
        ScoreError: there are none.
    """
    weights = {
        id(layer.weight)
        for layer in module.modules()
        if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear)
    }
    found = [name for name, value in module.named_parameters() if id(value) in weights]
    if not found:
        raise ScoreError(
            f"{type(module).__name__} has no convolution or linear layer whose weights could be "
            "scored"
        )
    return found


def use_batch_statistics(module: nn.Module) -> None:
    """Put a network into the mode in which it is scored: eval, but batch norms as in training.

    At random weights running statistics say nothing, and without normalisation the activations of
    deep networks explode. Dropout and stochastic depth stay off: their noise would hide what
    differs between designs. Auxiliary heads that only train mode has (GoogLeNet, Inception) are
    not scored.
    """
    module.eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.training = True  # not train(): timm's norms have a dropout inside


def call(module: nn.Module, tensors: Mapping[str, Tensor], images: Tensor) -> object:
    """What a network returns, with some of its parameters and buffers replaced.

    Args:
        module: the network; neither its parameters nor its buffers are written to.
        tensors: by name; buffers that are not among them are copied first.
        images: its input.
    """
    buffers = {name: value.clone() for name, value in module.named_buffers() if name not in tensors}
    output: object = functional_call(module, {**buffers, **tensors}, (images,))
    return output


def weight_gradients(module: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Each weight that the loss depends on, with its gradient of the loss.

    Args:
        module: the network; it is put into the mode of :func:`use_batch_statistics`.
        batch: images and labels.

    Raises:
        ScoreError: no weights, or no output that a loss could be made of.
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
