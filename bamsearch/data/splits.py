"""A data set in three splits, of which the test split is read only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bamsearch.data.images import Fit
from bamsearch.data.sources import Source, spoilt_error
from bamsearch.errors import DataError
from bamsearch.records import DataFacts

HELD_BYTES = 2**30
"""A split is held in memory, as bytes in the network's input size, up to this: 1 GiB, which is
350,000 images of 3x32x32, or 7,100 of 3x224x224."""

STATISTICS_IMAGES = 2_000
"""Of a training split that is not held so many images, drawn with the split seed, give the mean and
the deviation."""


class Split(Dataset[tuple[Tensor, int]]):
    """Some images of a source, in the order of the source.

    Args:
        source: where they are.
        indices: (N,) int64, which of them.
        fit: what they are brought to.

    Attributes:
        labels: (N,) int64.
    """

    def __init__(self, source: Source, indices: Tensor, fit: Fit) -> None:
        self.labels = source.labels[indices]
        self._source = source
        self._indices = indices
        self._fit = fit
        self._placed: tuple[torch.device, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image, (C, H, W) uint8, and its label.

        Raises:
            DataError: its file cannot be read.
        """
        label = int(self.labels[index])
        if "images" in self.__dict__ and self.images is not None:
            return self.images[index], label
        at = int(self._indices[index])
        if self._source.images is not None:
            return self._fit.arrays(self._source.images[at : at + 1])[0], label
        return self._fit.file(self._source.files[at]), label

    @cached_property
    def images(self) -> Tensor | None:
        """All images, (N, C, H, W) uint8, read once; None over :data:`HELD_BYTES`.

        Raises:
            DataError: files that cannot be read: how many, and which.
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
            DataError: the split is too large to be held.
        """
        if self.images is None:
            raise DataError(f"{len(self):,} images are too many to be held: read them in batches")
        where = torch.device(device)
        if self._placed is None or self._placed[0] != where:
            self._placed = (where, self.images.to(where), self.labels.to(where))
        return self._placed[1:]

    def _read_all(self) -> Tensor:
        held = torch.empty(len(self), *self._fit.shape, dtype=torch.uint8)
        spoilt = []
        for row, at in enumerate(self._indices.tolist()):
            try:
                held[row] = self._fit.file(self._source.files[at])
            except DataError:
                spoilt.append(self._source.files[at])
        if spoilt:
            raise spoilt_error(spoilt, len(self))
        return held


class Data:
    """A data set: what is known of it, and its splits.

    Args:
        facts: what is known of it.
        class_names: the index is the label.
        native_size: H and W that all its images have; None where they differ.
        train: the split to learn from.
        validation: the split to choose by.
        open_test: reads the test split.
    """

    def __init__(
        self,
        facts: DataFacts,
        class_names: tuple[str, ...],
        native_size: tuple[int, int] | None,
        train: Split,
        validation: Split,
        open_test: Callable[[], Split],
    ) -> None:
        self.facts = facts
        self.class_names = class_names
        self.native_size = native_size
        self.train = train
        self.validation = validation
        self._open_test = open_test

    def test(self) -> Split:
        """The test split, read now: once, after every choice has been made.

        Raises:
            DataError: it is not there, or is not the one that is published.
        """
        return self._open_test()

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of the training pixels in 0..1, a number for each channel."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the training pixels in 0..1, at least 1/255 as it divides."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        images = self.train.images
        if images is None:
            # Legacy on purpose: its stream is the same in every version of NumPy.
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
