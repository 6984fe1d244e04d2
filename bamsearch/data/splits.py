"""Random splits of a data set, their images, and batches in reproducible order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bamsearch.data.images import Fit
from bamsearch.data.sources import Source, spoilt_error
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts, check_positive

SHARE = 10
"""A split takes one in ten images of each class, rounded down, but at least one."""

HELD_BYTES = 2**30
"""Maximum size of a split in memory, as bytes in the network's input size: 1 GiB, which is 350,000
images of 3x32x32, or 7,100 of 3x224x224."""

STATISTICS_IMAGES = 2_000
"""Number of images, drawn with the split seed, for mean and deviation of a training split that is
not in memory."""


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


class Split(Dataset[tuple[Tensor, int]]):
    """A subset of the images of a source, in the order of the source.

    Args:
        source: the source.
        indices: indices of the images, (N,) int64.
        fit: target shape of the images.

    Attributes:
        labels: (N,) int64.
    """

    def __init__(self, source: Source, indices: Tensor, fit: Fit) -> None:
        self.labels = source.labels[indices]
        self._source = source
        self._indices = indices
        self._fit = fit
        self._cached: tuple[torch.device, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, (C, H, W) uint8, and its label.

        Raises:
            DataError: the file cannot be read.
        """
        label = int(self.labels[index])
        if "images" in self.__dict__ and self.images is not None:
            return self.images[index], label
        position = int(self._indices[index])
        if self._source.images is not None:
            return self._fit.arrays(self._source.images[position : position + 1])[0], label
        return self._fit.file(self._source.files[position]), label

    @cached_property
    def images(self) -> Tensor | None:
        """All images, (N, C, H, W) uint8, read once; None over :data:`HELD_BYTES`.

        Raises:
            DataError: number and names of unreadable files.
        """
        channels, height, width = self._fit.shape
        if len(self) * channels * height * width > HELD_BYTES:
            return None
        if self._source.images is not None:
            return self._fit.arrays(self._source.images[self._indices])
        return self._read_all()

    def on(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Images and labels on a device, moved there once.

        Raises:
            DataError: the split is too large for memory.
        """
        if self.images is None:
            raise DataError(f"{len(self):,} images do not fit into memory: read them in batches")
        target = torch.device(device)
        if self._cached is None or self._cached[0] != target:
            self._cached = (target, self.images.to(target), self.labels.to(target))
        return self._cached[1:]

    def _read_all(self) -> Tensor:
        images = torch.empty(len(self), *self._fit.shape, dtype=torch.uint8)
        unreadable = []
        for row, position in enumerate(self._indices.tolist()):
            try:
                images[row] = self._fit.file(self._source.files[position])
            except DataError:
                unreadable.append(self._source.files[position])
        if unreadable:
            raise spoilt_error(unreadable, len(self))
        return images


@dataclass(eq=False)
class Data:
    """A data set with its splits.

    Attributes:
        facts: facts about the data set.
        class_names: names of the classes by label.
        native_size: (H, W) of all images; None if they differ.
        train: training split.
        validation: validation split.
        test: function that reads the test split, or raises DataError if it is missing or differs
            from the published one. Use it only once, after all choices have been made.
    """

    facts: DataFacts
    class_names: tuple[str, ...]
    native_size: tuple[int, int] | None
    train: Split
    validation: Split
    test: Callable[[], Split]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels in 0..1, one number per channel."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training pixels in 0..1, at least 1/255, as it is a divisor."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        images = self.train.images
        if images is None:
            # The legacy generator has the same stream in all versions of NumPy.
            drawn = np.random.RandomState(self.facts.split_seed).permutation(len(self.train))
            images = torch.stack([self.train[int(i)][0] for i in drawn[:STATISTICS_IMAGES]])
        levels = torch.arange(256, dtype=torch.float64) / 255
        means, deviations = [], []
        for channel in range(images.shape[1]):
            counts = torch.bincount(images[:, channel].flatten(), minlength=256).double()
            mean = float((counts * levels).sum() / counts.sum())
            variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
            means.append(mean)
            deviations.append(max(variance**0.5, 1 / 255))
        return tuple(means), tuple(deviations)


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the images in an epoch of a training, (count,) int64.

    It depends on nothing else, so different trainings see the same order.

    Raises:
        InvalidValueError: seed or epoch are not in 0..2**32 - 1.
    """
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value < 2**32:
            raise InvalidValueError(f"{name} must be in 0..{2**32 - 1}, not {value}")
    return permutation(count, seed, epoch)


def batches(
    split: Split,
    size: int,
    order: Tensor,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over images of a split; the last batch may be smaller.

    Args:
        split: the split. If it is in memory, it is moved to the device and indexed there; otherwise
            a DataLoader reads its files.
        size: batch size.
        order: indices of the images, (N,) int64.
        device: device of the batches.
        workers: number of processes that read files; 0 reads in this process.

    Returns:
        Images (N, C, H, W) uint8 and labels (N,) int64, on the device.

    Raises:
        InvalidValueError: invalid batch size.
        DataError: while reading, a file that is not an image.
    """
    check_positive("the batch size", size)
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
