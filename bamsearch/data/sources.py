"""Labelled images as stored, before splitting and resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bamsearch.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Labelled images, in memory as arrays or on disk as files.

    Attributes:
        labels: class of each image, (N,) int64.
        images: (N, C, H, W) uint8 with C of 1 or 3; None for files.
        files: one file per image, if they are files.
        root: the folder to which names in the hash of the data are relative.
    """

    labels: Tensor
    images: Tensor | None = None
    files: tuple[Path, ...] = ()
    root: Path = Path()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class LazySplit:
    """A published test split that is read lazily.

    Attributes:
        images: published number of images.
        open: function that reads the split.
    """

    images: int
    open: Callable[[], Source]


@dataclass(frozen=True, slots=True, eq=False)
class DatasetSource:
    """A data set before splitting.

    Attributes:
        kind: name of the data set, independent of its folder, such as ``fashion-mnist``.
        classes: names of the classes by label.
        size: (H, W) of all images; None if they differ.
        train: the training images, from which missing splits are drawn.
        validation: the validation split; None if it is drawn from ``train``.
        test: the test split; None if it is drawn from ``train``.
    """

    kind: str
    classes: tuple[str, ...]
    size: tuple[int, int] | None
    train: Source
    validation: Source | None = None
    test: Source | LazySplit | None = None


SourceSubset = tuple[Source, Tensor]
"""A source, and the indices of a split in it."""


def few_names(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and the number of further ones."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def spoilt_error(spoilt: Sequence[Path], count: int) -> DataError:
    """Error for unreadable images among count images."""
    return DataError(
        f"{len(spoilt):,} of {count:,} images cannot be read (unreadable images are never "
        f"skipped): {few_names(list(map(str, spoilt)))}; repair or remove them"
    )


def check_classes(dataset: DatasetSource) -> None:
    """Raise DataError unless there are at least two classes, each with an image in every split."""
    kind, classes = dataset.kind, dataset.classes
    if len(classes) < 2:
        raise DataError(
            f"{kind} has only one class, {', '.join(classes)}: at least two classes are needed"
        )
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for split, source in parts.items():
        if isinstance(source, Source):
            check_labels(f"the {split} split of {kind}", source, classes)
    check_enough(dataset, dataset.train.labels, "images")


def check_enough(dataset: DatasetSource, labels: Tensor, noun: str) -> None:
    """Raise DataError if a class has too few images for the splits that are drawn from it.

    Args:
        dataset: the data set.
        labels: labels of the candidate images, (N,) int64.
        noun: term for these images in messages.
    """
    parts = {"validation": dataset.validation, "test": dataset.test}
    missing = [name for name, source in parts.items() if source is None]
    needed = 1 + len(missing)
    counts = torch.bincount(labels, minlength=len(dataset.classes)).tolist()
    scarce = [name for name, count in zip(dataset.classes, counts, strict=True) if count < needed]
    if scarce:
        raise DataError(
            f"{dataset.kind} has classes with fewer than {needed} {noun}, too few to draw "
            f"{' and '.join(missing)} splits: {few_names(scarce)}; add images, or remove these "
            "classes"
        )


def check_labels(name: str, source: Source, classes: Sequence[str]) -> None:
    """Raise DataError if a class has no image, or a label has no class."""
    labels = source.labels
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise DataError(
            f"{name} has labels {int(labels.min())} to {int(labels.max())}, but there are "
            f"{len(classes)} classes: download it again"
        )
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"{name} has no image of {'class' if len(empty) == 1 else 'classes'} "
            f"{few_names(empty)}: add images, or remove the class"
        )
