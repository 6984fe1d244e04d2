"""Batches of an epoch for a process: all, its share, or those that remain after a resume."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from bamsearch.data.splits import Split, batches, epoch_order

_READERS = 8
"""Maximum number of processes that read files."""

LabelledBatch = tuple[Tensor, Tensor]


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

    The batch ``size`` is over all processes, a multiple of their number ``world``; ``first`` is the
    number of the first step.
    """
    order = epoch_order(len(split), seed, epoch)[first * size : steps_of(split, size) * size]
    workers = readers(split, world)
    return batches(split, size // world, order[rank::world], device=device, workers=workers)


def validation_batches(
    split: Split,
    size: int,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[LabelledBatch]:
    """A process's share of all images of a split, each once."""
    order, workers = torch.arange(len(split))[rank::world], readers(split, world)
    return batches(split, max(size // world, 1), order, device=device, workers=workers)


def readers(split: Split, world: int) -> int:
    """Number of reader processes per training process; 0 if all images are in memory."""
    if split.images is not None:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(min((cores or 1) // world - 1, _READERS), 0)
