"""The images, labels and loss of a score: seeded random numbers, no data set.

What a network returns may be a tensor, a named tuple or a dictionary of dense maps: the loss is
over every floating tensor in it.
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
        images: (N, C, H, W), or (N, C, T, H, W) for video; normally distributed.
        targets: (N,), float64 in 0..1, 1 excluded: where in the classes each image's label is. So
            heads with the same classes are given the same labels.
    """

    images: Tensor
    targets: Tensor

    def labels(self, classes: int) -> Tensor:
        """The label of each image, (N,), for a head of that many classes."""
        return (self.targets * classes).long()

    def halves(self) -> tuple[Batch, Batch]:
        """The first and the second half as batches of their own."""
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
    """A batch that depends on its shape and the seed alone: the same on every device.

    Args:
        input_shape: one image without the batch.
        size: N.
        seed: of a generator of its own.
        device: where images and targets are put.
        dtype: of the images.
    """
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randn(size, *input_shape, generator=numbers)
    targets = torch.rand(size, generator=numbers, dtype=torch.float64)
    return Batch(images.to(device, dtype), targets.to(device))


def logits_of(output: object, count: int) -> list[Tensor]:
    """Every floating tensor of an output, averaged over all axes after the channel's.

    Args:
        output: what a network returned, in whatever tuple or dictionary.
        count: N, how many images it was given; tensors without that many rows are left out.

    Returns:
        Tensors (N, K), in the output's order.

    Raises:
        ScoreError: there is none.
    """
    found = [
        leaf.flatten(2).mean(2) if leaf.dim() > 2 else leaf
        for leaf in pytree.tree_leaves(output)
        if isinstance(leaf, Tensor)
        and leaf.is_floating_point()
        and leaf.dim() >= 2
        and len(leaf) == count
    ]
    if not found:
        raise ScoreError(
            f"the network returns no tensor of shape ({count}, channels, …) for {count} images, "
            f"but {type(output).__name__}: give a score function of your own, FILE.py:function"
        )
    return found


def loss_of(output: object, batch: Batch) -> Tensor:
    """Cross-entropy with the batch's labels, summed over all tensors of an output.

    Args:
        output: what a network returned for the batch's images.
        batch: gives the labels.

    Raises:
        ScoreError: no tensor with the images' axis and a channel's.
    """
    total = batch.images.new_zeros(())
    for logits in logits_of(output, len(batch.images)):
        if logits.shape[1] == 1:
            # One logit says how likely the second of two classes is: the first's is 0.
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        total = total + F.cross_entropy(logits, batch.labels(logits.shape[1]))
    return total
