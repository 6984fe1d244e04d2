"""Labelled images as they are stored: before they are split, and before they are resized."""

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
        labels: (N,) int64, the class of each image.
        images: (N, C, H, W) uint8, C being 1 or 3; None where they are files.
        files: one an image, where they are files.
        root: the folder that names in the data's hash are relative to.
    """

    labels: Tensor
    images: Tensor | None = None
    files: tuple[Path, ...] = ()
    root: Path = Path()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Unopened:
    """A published test split that nothing is read of until it is asked for.

    Attributes:
        images: how many are published.
        open: reads it.
    """

    images: int
    open: Callable[[], Source]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A data set that was found.

    Attributes:
        kind: what it is, whatever folder it is in: ``fashion-mnist``.
        classes: their names; the index is the label.
        size: H and W of every image; None where they differ.
        train: the images to learn from, and to take the splits from that are not there.
        validation: None where it is taken from ``train``.
        test: None where it is taken from ``train``.
    """

    kind: str
    classes: tuple[str, ...]
    size: tuple[int, int] | None
    train: Source
    validation: Source | None = None
    test: Source | Unopened | None = None


Part = tuple[Source, Tensor]
"""A source, and the indices of a split in it."""


def few_names(names: Sequence[str], shown: int = 5) -> str:
    """The first names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")


def spoilt_error(spoilt: Sequence[Path], count: int) -> DataError:
    """The error of images that cannot be read, out of count."""
    return DataError(
        f"{len(spoilt):,} of {count:,} images cannot be read, and none is skipped: "
        f"{few_names(list(map(str, spoilt)))}; repair them or remove them"
    )


def check_classes(opened: Opened) -> None:
    """Raise DataError unless there are two classes or more, each with an image for every split."""
    kind, classes = opened.kind, opened.classes
    if len(classes) < 2:
        raise DataError(
            f"{kind} has only one class, {', '.join(classes)}: nothing can be told apart; "
            "give data with two classes or more"
        )
    parts = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    for split, source in parts.items():
        if isinstance(source, Source):
            check_labels(f"the {split} split of {kind}", source, classes)
    check_enough(opened, opened.train.labels, "images")


def check_enough(opened: Opened, labels: Tensor, what: str) -> None:
    """Raise DataError where a class has too few images for the splits that are drawn from it.

    Args:
        opened: the data set.
        labels: (N,) int64, of the images that are drawn from.
        what: name of these images.
    """
    parts = {"validation": opened.validation, "test": opened.test}
    taken = [name for name, source in parts.items() if source is None]
    needed = 1 + len(taken)
    counts = torch.bincount(labels, minlength=len(opened.classes)).tolist()
    scarce = [name for name, count in zip(opened.classes, counts, strict=True) if count < needed]
    if scarce:
        raise DataError(
            f"{opened.kind} has classes with fewer than {needed} {what}, and "
            f"{' and '.join(taken)} are taken from them: {few_names(scarce)}; add images, or leave "
            "these classes out"
        )


def check_labels(what: str, source: Source, classes: Sequence[str]) -> None:
    """Raise DataError where a class has no image, or a label no class."""
    labels = source.labels
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        raise DataError(
            f"{what} has labels {int(labels.min())} to {int(labels.max())}, and there are "
            f"{len(classes)} classes: fetch it again"
        )
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise DataError(
            f"{what} has no image of {'class' if len(empty) == 1 else 'classes'} "
            f"{few_names(empty)}: add some, or remove the class"
        )
