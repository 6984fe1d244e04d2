"""Batches of an epoch for a process: all, its share, or those that remain after a resume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from bamsearch.data.splits import Split, batches, permutation

_READERS = 8
"""Maximum number of processes that read files."""

LabelledBatch = tuple[Tensor, Tensor]


class Shard(Dataset[tuple[Tensor, int]]):
    """Selected images of a split, with the split's interface.

    Args:
        split: the split.
        rows: indices of the images in order, (N,) int64.
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
        """Images and labels on a device, if the whole split is in memory."""
        images, labels = self._split.on(device)
        rows = self._rows.to(device)
        return images[rows], labels[rows]


def steps_of(split: Split, size: int) -> int:
    """Number of whole batches in an epoch, at least 1 even if there are fewer images."""
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
) -> Iterator[LabelledBatch]:
    """A process's share of every whole batch of an epoch, in an order set by seed and epoch.

    Args:
        split: the training images.
        size: batch size over all processes; a multiple of world.
        seed: random seed of the order.
        epoch: number of the epoch, from 0.
        first: number of the first step.
        rank: rank of this process.
        world: number of processes.
        device: device of the batches.
    """
    steps = steps_of(split, size)
    if first == 0 and world == 1:
        all_batches = batches(
            split,
            size,
            seed=seed,
            epoch=epoch,
            shuffle=True,
            device=device,
            workers=readers(split, world),
        )
        return islice(all_batches, steps)
    order = permutation(len(split), seed, epoch)[first * size : steps * size]
    rows = torch.cat([batch[rank::world] for batch in torch.split(order, size)])
    return _in_order(split, rows, size // world, device, world)


def validation_batches(
    split: Split,
    size: int,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[LabelledBatch]:
    """A process's share of all images of a split, each once."""
    rows = torch.arange(len(split))[rank::world]
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
    return _in_order(split, rows, max(size // world, 1), device, world)


def readers(split: Split, world: int) -> int:
    """Number of reader processes per training process; 0 if all images are in memory."""
    if split.images is not None:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(min((cores or 1) // world - 1, _READERS), 0)


def _in_order(
    split: Split, rows: Tensor, size: int, device: torch.device | str, world: int
) -> Iterator[LabelledBatch]:
    part = cast(Split, Shard(split, rows))
    return batches(
        part,
        size,
        seed=0,
        epoch=0,
        shuffle=False,
        device=device,
        workers=readers(split, world),
    )
