"""Image folders: ``DIR/train/CLASS/*`` with ``val`` and ``test``, or only ``DIR/CLASS/*``.

Files are listed in torchvision's order, without walking a whole disk by mistake.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from bamsearch.data.sources import DatasetSource, Source, few_names
from bamsearch.data.ticker import Ticker
from bamsearch.errors import DataError

_log = logging.getLogger(__name__)

OTHERS = 10_000
"""A folder is refused if it has more other files than this, and ten times as many as images."""

_SHARE = 10

KIND = "imagefolder"
_VALIDATION = ("val", "valid", "validation")


def open_folder(folder: Path) -> DatasetSource:
    """List the images of a folder without reading them.

    If ``DIR/train`` contains folders, the other splits are ``DIR/val`` (or ``valid``,
    ``validation``) and ``DIR/test``, each with the same classes; missing splits are drawn from
    ``train``. Only files with torchvision's ``IMG_EXTENSIONS`` are used.

    Raises:
        DataError: the folder is missing, has no classes, or its splits have different classes.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: {KIND}:DIR needs a folder with a folder per class")
    if not _has_folders(folder / "train"):
        classes, source = _listed(folder, folder)
        return DatasetSource(KIND, classes, None, source)
    classes, train = _listed(folder / "train", folder)
    parts: dict[str, Source | None] = {"validation": None, "test": None}
    for part, names in (("validation", _VALIDATION), ("test", ("test",))):
        existing = [folder / name for name in names if _has_folders(folder / name)]
        if len(existing) > 1:
            raise DataError(
                f"{folder} has {existing[0].name} and {existing[1].name}: keep one of them"
            )
        if existing:
            parts[part] = _same_classes(existing[0], folder, classes)
    return DatasetSource(KIND, classes, None, train, parts["validation"], parts["test"])


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _same_classes(part: Path, folder: Path, classes: tuple[str, ...]) -> Source:
    part_classes, source = _listed(part, folder)
    different = sorted(set(part_classes) ^ set(classes))
    if different:
        raise DataError(
            f"{part} and {folder / 'train'} have different classes: only one has "
            f"{few_names(different)}; give both the same classes"
        )
    return source


def _listed(folder: Path, root: Path) -> tuple[tuple[str, ...], Source]:
    """The classes in folder, and its images in torchvision's order."""
    if not _has_folders(folder):
        raise DataError(f"{folder} contains no folders: create a folder of images for each class")
    classes = class_names(folder)
    samples = list(class_files(folder, classes))
    if not samples:
        formats = ", ".join(extension.lstrip(".") for extension in IMG_EXTENSIONS)
        raise DataError(f"{folder} has no images in its folders: supported formats are {formats}")
    files = tuple(Path(path) for path, _ in samples)
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    return tuple(classes), Source(labels, files=files, root=root)


def class_names(folder: Path) -> list[str]:
    """Sorted names of the folders in a folder.

    Raises:
        DataError: the folder cannot be read.
    """
    return sorted(entry.name for entry in _entries(str(folder)) if entry.is_dir())


def class_files(folder: Path, classes: list[str]) -> Iterator[tuple[str, int]]:
    """(file, label) of every image in the folders of the classes, recursively.

    Link cycles are followed once. Images are recognised by their file names.

    Args:
        folder: the folder of the classes.
        classes: names from :func:`class_names`.

    Raises:
        DataError: a folder cannot be read, or is not a folder of images.
    """
    listing = _Listing(folder)
    for label, name in enumerate(classes):
        for _, files in sorted(listing.walk(os.path.join(folder, name))):
            for file in sorted(files):
                yield file, label


class _Listing:
    """Walks folders recursively, and counts images and other files.

    Args:
        folder: root folder for messages.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images = 0
        self._others = 0
        self._tick = Ticker(_log, f"listing {folder}", "files")

    def walk(self, top: str) -> Iterator[tuple[str, list[str]]]:
        """(folder, its images) for a folder and all folders in it, following links."""
        waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(top, frozenset())]
        while waiting:
            folder, parents = waiting.pop()
            entries = _entries(folder)
            state = os.stat(folder)
            identity = (state.st_dev, state.st_ino)
            if identity in parents:
                continue
            images = []
            for entry in entries:
                if entry.is_dir():
                    waiting.append((entry.path, parents | {identity}))
                    self._count(image=False)
                    continue
                image = entry.name.lower().endswith(IMG_EXTENSIONS)
                self._count(image=image)
                if image:
                    images.append(entry.path)
            yield folder, images

    def _count(self, *, image: bool) -> None:
        self._images += image
        self._others += not image
        done = self._images + self._others
        self._tick(done)
        if self._others > OTHERS and self._others > _SHARE * self._images:
            raise DataError(
                f"{self._folder} is not a folder of images: only {self._images:,} of the first "
                f"{done:,} entries are images; imagefolder:DIR needs DIR/CLASS/*.jpg, or DIR/train "
                "and DIR/val of that form"
            )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}): change its permissions, or remove it"
        ) from error
