"""Random shuffling and stratified splits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHARE = 10
"""A split takes one in ten images of each class, rounded down, but at least one."""


def permutation(count: int, *seeds: int) -> Tensor:
    """A permutation of the numbers below count, (count,) int64, determined by the seeds.

    Args:
        count: number of elements.
        seeds: random seeds, each in 0..2**32 - 1.
    """
    # The legacy generator has the same stream, and so gives the same splits, in all NumPy versions.
    numbers = np.random.RandomState(list(seeds))
    return torch.from_numpy(numbers.permutation(count).astype(np.int64))


def stratified(labels: Tensor, splits: int, seed: int, first: Tensor | None = None) -> list[Tensor]:
    """Draw stratified splits from labelled images.

    Args:
        labels: (N,) int64; each class occurs more than ``splits`` times.
        splits: number of splits to draw.
        seed: random seed.
        first: index of the first copy of each image, (N,) int64; first copies are drawn, and the
            others follow into the same split. None means that there are no copies.

    Returns:
        Sorted indices, int64, of the remaining images, then of each split.
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
