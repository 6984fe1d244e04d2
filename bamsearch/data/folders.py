"""A user's own images: ``DIR/train/CLASS/*`` with ``val`` and ``test``, or only ``DIR/CLASS/*``."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from bamsearch.data.listing import class_files, class_names
from bamsearch.data.sources import Opened, Source, few_names
from bamsearch.errors import DataError

KIND = "imagefolder"
_VALIDATION = ("val", "valid", "validation")


def open_folder(folder: Path) -> Opened:
    """The images of a folder, listed and not read.

    ``DIR/train`` with folders in it makes ``DIR/val`` (or ``valid``, ``validation``) and
    ``DIR/test`` the other splits, each with the same classes; one that is not there is taken from
    ``train``. Other files than torchvision's ``IMG_EXTENSIONS`` are left out.

    Raises:
        DataError: no such folder, no classes in it, or other classes in one split than in train.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: {KIND}:DIR is a folder with a folder for each class")
    if not _has_folders(folder / "train"):
        classes, source = _listed(folder, folder)
        return Opened(KIND, classes, None, source)
    classes, train = _listed(folder / "train", folder)
    parts: dict[str, Source | None] = {"validation": None, "test": None}
    for part, names in (("validation", _VALIDATION), ("test", ("test",))):
        there = [folder / name for name in names if _has_folders(folder / name)]
        if len(there) > 1:
            raise DataError(f"{folder} has {there[0].name} and {there[1].name}: keep one of them")
        if there:
            parts[part] = _same_classes(there[0], folder, classes)
    return Opened(KIND, classes, None, train, parts["validation"], parts["test"])


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _same_classes(part: Path, folder: Path, classes: tuple[str, ...]) -> Source:
    found, source = _listed(part, folder)
    other = sorted(set(found) ^ set(classes))
    if other:
        raise DataError(
            f"{part} and {folder / 'train'} have different classes: only one has "
            f"{few_names(other)}; give both the same"
        )
    return source


def _listed(folder: Path, root: Path) -> tuple[tuple[str, ...], Source]:
    """The classes below folder, and its images in torchvision's order."""
    if not _has_folders(folder):
        raise DataError(f"{folder} has no folder in it: give each class a folder of its images")
    classes = class_names(folder)
    samples = list(class_files(folder, classes))
    if not samples:
        known = ", ".join(extension.lstrip(".") for extension in IMG_EXTENSIONS)
        raise DataError(f"{folder} has no image in its folders: {known} are read")
    files = tuple(Path(path) for path, _ in samples)
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    return tuple(classes), Source(labels, files=files, root=root)
