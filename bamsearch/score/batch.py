"""The images, labels and loss of a zero-cost score: seeded random numbers, without a data set.

A network may return a tensor, a named tuple or a dictionary of dense maps: the loss is summed over
all floating-point tensors in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
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
    """Make a batch that depends on its shape and the seed alone: the same on every device.

    Args:
        input_shape: shape of an image, without the batch axis.
        size: number of images, N.
        seed: random seed; the global generator is not used.
        device: device of images and targets.
        dtype: data type of the images.
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


def loss_of(output: object, batch: Batch) -> Tensor:
    """Cross-entropy with the labels of a batch, summed over all tensors of an output.

    Args:
        output: output of a network for the images of the batch.
        batch: images and labels.

    Raises:
        ScoreError: no tensor with a batch axis and a channel axis.
    """
    total = batch.images.new_zeros(())
    for logits in logits_of(output, len(batch.images)):
        if logits.shape[1] == 1:
            # A single logit is that of the second of two classes; the first has logit 0.
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        total = total + F.cross_entropy(logits, batch.labels(logits.shape[1]))
    return total
