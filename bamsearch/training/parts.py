"""The images of an epoch that a process has to look at: all, or its share, or what is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bamsearch.data.batches import batches
from bamsearch.data.drawing import permutation
from bamsearch.data.splits import Split

_READERS = 8
"""Processes that read files, at most."""

Batch = tuple[Tensor, Tensor]


class Part(Dataset[tuple[Tensor, int]]):
    """Some images of a split, in an order of their own; used as a split is.

    Args:
        split: where they are.
        rows: (N,) int64, which of them.
    """

    def __init__(self, split: Split, rows: Tensor) -> None:
        self.labels = split.labels[rows]
        self.images = split.images
        self._split = split
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, (C, H, W) uint8, and its label."""
        return self._split[int(self._rows[index])]

    def on(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Images and labels on a device, where the whole split is held."""
        images, labels = self._split.on(device)
        rows = self._rows.to(device)
        return images[rows], labels[rows]


def steps_of(split: Split, size: int) -> int:
    """Whole batches in an epoch; one where there are fewer images than a batch has."""
    return max(len(split) // size, 1)


def training_batches(
    split: Split,
    size: int,
    *,
    seed: int,
    epoch: int,
    first: int = 0,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """A process's share of every whole batch of an epoch, in the order of seed and epoch.

    Args:
        split: the training images.
        size: images in a batch, in all processes together; a multiple of world.
        seed: of the order.
        epoch: from 0 on.
        first: the step to begin with.
        rank: this process.
        world: processes.
        device: where batches are put.
    """
    steps = steps_of(split, size)
    if first == 0 and world == 1:
        found = batches(
            split,
            size,
            seed=seed,
            epoch=epoch,
            shuffle=True,
            device=device,
            workers=readers(split, world),
        )
        return islice(found, steps)
    order = permutation(len(split), seed, epoch)[first * size : steps * size]
    own = torch.cat([batch[rank::world] for batch in torch.split(order, size)])
    return _in_order(split, own, size // world, device, world)


def validation_batches(
    split: Split,
    size: int,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """A process's share of all images of a split, each once."""
    own = torch.arange(len(split))[rank::world]
    if world == 1:
        return batches(
            split,
            size,
            seed=0,
            epoch=0,
            shuffle=False,
            device=device,
            workers=readers(split, world),
        )
    return _in_order(split, own, max(size // world, 1), device, world)


def readers(split: Split, world: int) -> int:
    """Processes that read files for one that trains; none where all images are held."""
    if split.images is not None:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(min((cores or 1) // world - 1, _READERS), 0)


def _in_order(
    split: Split, rows: Tensor, size: int, device: torch.device | str, world: int
) -> Iterator[Batch]:
    part = cast(Split, Part(split, rows))
    return batches(
        part,
        size,
        seed=0,
        epoch=0,
        shuffle=False,
        device=device,
        workers=readers(split, world),
    )
