"""Batches of a split in reproducible order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bamsearch.data.random_splits import permutation
from bamsearch.data.splits import Split
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import check_positive


def batches(
    split: Split,
    size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over all images of a split once; the last batch may be smaller.

    The order depends only on the seed, the epoch and the number of images, not on device, batch
    size, workers or earlier random numbers, so different trainings see the same order.

    Args:
        split: the split. If it is in memory, it is moved to the device and indexed there; otherwise
            a DataLoader reads its files.
        size: batch size.
        seed: random seed of the order, in 0..2**32 - 1.
        epoch: number of the epoch, from 0; each has a different order.
        shuffle: False keeps the order of the split.
        device: device of the batches.
        workers: number of processes that read files; 0 reads in this process.

    Returns:
        Images (N, C, H, W) uint8 and labels (N,) int64, on the device.

    Raises:
        InvalidValueError: invalid batch size, or a seed or an epoch out of range.
        DataError: while reading, a file that is not an image.
    """
    check_positive("the batch size", size)
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**32:
            raise InvalidValueError(f"{name} must be in 0..{2**32 - 1}, not {value}")
    count = len(split)
    order = permutation(count, seed, epoch) if shuffle else torch.arange(count)
    if split.images is None:
        return _read(split, order, size, torch.device(device), workers)
    return _indexed(split, order, size, device)


def _indexed(
    split: Split, order: Tensor, size: int, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = split.on(device)
    for rows in torch.split(order.to(device), size):
        yield images[rows], labels[rows]


def _read(
    split: Split, order: Tensor, size: int, device: torch.device, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    pinned = device.type == "cuda"
    loader = DataLoader(
        split,
        batch_size=size,
        sampler=order.tolist(),
        num_workers=workers,
        pin_memory=pinned,
        # A separate generator: seeding the workers must not change the training's random state.
        generator=torch.Generator(),
    )
    try:
        for images, labels in loader:
            yield images.to(device, non_blocking=pinned), labels.to(device, non_blocking=pinned)
    except DataError as error:
        # A worker's error contains its traceback as text; the message is the last line.
        message = str(error).strip().splitlines()[-1]
        # The traceback forms a reference cycle with torch's workers, which delays their end by 5 s.
        error.__traceback__ = None
    else:
        return
    raise DataError(message.removeprefix(f"{DataError.__module__}.DataError: "))
