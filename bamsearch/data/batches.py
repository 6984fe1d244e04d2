"""Batches of a split, in an order that can be had again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bamsearch.data.drawing import permutation
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
    """All images of a split once, the last batch as small as it comes.

    The order depends on seed, epoch and the number of images alone: not on the device, the size of
    a batch, the workers or what was drawn before, so that two trainings see the same.

    Args:
        split: what to read. One that is held lies on the device and is indexed there; another is
            read from its files by a DataLoader.
        size: images in a batch.
        seed: of the order, in 0..2**32 - 1.
        epoch: from 0 on; each has its own order.
        shuffle: False keeps the split's own order.
        device: where batches are put.
        workers: processes that read files; 0 reads in this one.

    Returns:
        Images (N, C, H, W) uint8 and labels (N,) int64, on the device.

    Raises:
        InvalidValueError: no batch of that size, or a seed or an epoch out of range.
        DataError: while reading, a file that is no image.
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
        # Its own: drawing a seed for the workers must not move the trainer's random numbers.
        generator=torch.Generator(),
    )
    try:
        for images, labels in loader:
            yield images.to(device, non_blocking=pinned), labels.to(device, non_blocking=pinned)
    except DataError as error:
        # A worker's error brings its traceback as text; what was said is the last line of it.
        said = str(error).strip().splitlines()[-1]
        # The traceback is in a circle with torch's workers, which would then end 5 s late.
        error.__traceback__ = None
    else:
        return
    raise DataError(said.removeprefix(f"{DataError.__module__}.DataError: "))
