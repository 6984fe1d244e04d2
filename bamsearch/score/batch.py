"""The random batch of a zero-cost score, and calls of a network that do not modify it.

The batch is seeded random numbers: no data set. A network may return a tensor, a named tuple or a
dictionary of dense maps: the loss is summed over all floating-point tensors in it.

The networks of a search share their base weights: nothing may write to them, and gradients must not
accumulate there. A score uses detached views instead, and copies of the buffers, which batch norm
writes to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from bamsearch.errors import ScoreError


@dataclass(frozen=True, slots=True)
class Batch:
    """Random images and their random targets.

    Attributes:
        images: standard normal, (N, C, H, W), or (N, C, T, H, W) for video.
        targets: float64 in [0, 1), (N,): the position of each label among the classes, so heads
            with the same number of classes get the same labels.
    """

    images: Tensor
    targets: Tensor

    def labels(self, classes: int) -> Tensor:
        """The label of each image for a head with that many classes: (N,)."""
        return (self.targets * classes).long()

    def halves(self) -> tuple[Batch, Batch]:
        """The first and the second half, as two batches."""
        middle = len(self.images) // 2
        return (
            Batch(self.images[:middle], self.targets[:middle]),
            Batch(self.images[middle:], self.targets[middle:]),
        )


def make_batch(
    input_shape: Sequence[int],
    size: int,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Make a batch of N = size images; the global generator is not used.

    It depends on input_shape (without the batch axis), size and seed alone: the same on every
    device.
    """
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randn(size, *input_shape, generator=numbers)
    targets = torch.rand(size, generator=numbers, dtype=torch.float64)
    return Batch(images.to(device, dtype), targets.to(device))


def logits_of(output: object, count: int) -> list[Tensor]:
    """The floating-point tensors of an output, averaged over all axes after the channels.

    Args:
        output: output of a network, in any nesting of tuples and dictionaries.
        count: number of input images, N; tensors with other first dimensions are ignored.

    Returns:
        Tensors (N, K), in the order of the output.

    Raises:
        ScoreError: no such tensor.
    """
    logits = [
        leaf.flatten(2).mean(2) if leaf.dim() > 2 else leaf
        for leaf in pytree.tree_leaves(output)
        if isinstance(leaf, Tensor)
        and leaf.is_floating_point()
        and leaf.dim() >= 2
        and len(leaf) == count
    ]
    if not logits:
        raise ScoreError(
            f"the network returns no tensor of shape ({count}, channels, …) for {count} images, "
            f"but {type(output).__name__}: use your own score function, FILE.py:function"
        )
    return logits


def total_of(output: object, count: int) -> Tensor:
    """The sum of all logits of an output, see :func:`logits_of`."""
    return torch.stack([logits.sum() for logits in logits_of(output, count)]).sum()


def loss_of(output: object, batch: Batch) -> Tensor:
    """Cross-entropy with the labels of a batch, summed over all logits of an output."""
    total = batch.images.new_zeros(())
    for logits in logits_of(output, len(batch.images)):
        if logits.shape[1] == 1:
            # A single logit is that of the second of two classes; the first has logit 0.
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        total = total + F.cross_entropy(logits, batch.labels(logits.shape[1]))
    return total


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


def call(module: nn.Module, images: Tensor, tensors: Mapping[str, Tensor] | None = None) -> object:
    """Call a network with some parameters and buffers replaced, by their names."""
    parameters = {name: value.detach() for name, value in module.named_parameters()}
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    output: object = functional_call(module, parameters | buffers | dict(tensors or {}), (images,))
    return output


def gradients_of(total: Tensor, weights: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The weights that a total depends on, detached, with their gradients."""
    weights = list(weights)
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    return [
        (weight.detach(), gradient)
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    ]


def weight_gradients(module: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """The weights that the loss depends on, with their gradients, on batch statistics.

    Raises:
        ScoreError: no weights, or no output that defines a loss.
    """
    use_batch_statistics(module)
    weights = {
        name: module.get_parameter(name).detach().requires_grad_() for name in weight_names(module)
    }
    loss = loss_of(call(module, batch.images, weights), batch)
    return gradients_of(loss, weights.values())
