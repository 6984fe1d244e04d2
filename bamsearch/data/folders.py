"""Image folders: ``DIR/train/CLASS/*`` with ``val`` and ``test``, or only ``DIR/CLASS/*``."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from bamsearch.data.listing import class_files, class_names
from bamsearch.data.sources import DatasetSource, Source, few_names
from bamsearch.errors import DataError

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
