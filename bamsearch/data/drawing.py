"""What is random here: the order of images, and which of them a split takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHARE = 10
"""A split takes one in ten images of each class, rounded down, and at least one."""


def permutation(count: int, *seeds: int) -> Tensor:
    """The numbers below count, (count,) int64, in an order that the seeds alone decide.

    Args:
        count: how many.
        seeds: each in 0..2**32 - 1.
    """
    # Legacy on purpose: its stream is the same in every version of NumPy, so that splits are too.
    numbers = np.random.RandomState(list(seeds))
    return torch.from_numpy(numbers.permutation(count).astype(np.int64))


def stratified(labels: Tensor, splits: int, seed: int, first: Tensor | None = None) -> list[Tensor]:
    """Take splits from labelled images, each with the same share of every class.

    Args:
        labels: (N,) int64; each class more than ``splits`` times.
        splits: how many to take.
        seed: decides which images.
        first: (N,) int64, for each image the index of its first copy, which is what is drawn; the
            others follow it into its split. None: there are no copies.

    Returns:
        Sorted indices, int64, of what is left, then of each split.
    """
    first = torch.arange(len(labels)) if first is None else first
    drawn = first == torch.arange(len(labels))
    parts: list[list[Tensor]] = [[] for _ in range(splits + 1)]
    for label in range(int(labels.max()) + 1):
        members = ((labels == label) & drawn).nonzero().flatten()
        members = members[permutation(len(members), seed, label)]
        size = max(len(members) // SHARE, 1)
        for number in range(splits):
            parts[number + 1].append(members[number * size : (number + 1) * size])
        parts[0].append(members[splits * size :])
    return [torch.isin(first, torch.cat(part)).nonzero().flatten() for part in parts]
