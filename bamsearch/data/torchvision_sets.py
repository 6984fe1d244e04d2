"""Read data sets of ``torchvision.datasets`` as described in :mod:`bamsearch.data.kinds`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor

from bamsearch.data.kinds import KINDS, Arguments, DatasetKind
from bamsearch.data.sources import DatasetSource, LazySplit, Source, check_labels
from bamsearch.errors import DataError

_REASON_LENGTH = 200


def open_published(name: str, folder: Path, *, download: bool) -> DatasetSource:
    """Open a published data set in a folder, without reading its test split.

    Args:
        name: a key of :data:`bamsearch.data.kinds.KINDS`.
        folder: torchvision's ``root``.
        download: download missing data.

    Raises:
        DataError: the data set is missing, incomplete or cannot be downloaded.
    """
    kind = KINDS[name]
    if download and not kind.fetched:
        raise DataError(
            f"torchvision cannot download {name}: omit `download`, and copy {kind.place} and any "
            f"other required files into {folder}"
        )
    if not download:
        _check_exists(name, kind, folder)
    read = partial(_read, name, kind, folder)
    dataset, train = read(kind.train, download=download)
    if download and kind.test_place is not None and not _exists(folder / kind.test_place):
        read(kind.test or {}, download=True)  # downloaded with the rest; the content is discarded
    validation = None if kind.validation is None else read(kind.validation, download=False)[1]
    classes = _classes(dataset, train)
    test = None
    if kind.test is not None:
        test = LazySplit(
            kind.test_images, partial(_open_test, name, kind, folder, kind.test, classes)
        )
    return DatasetSource(name, classes, kind.size, train, validation, test)


def _open_test(
    name: str, kind: DatasetKind, folder: Path, arguments: Arguments, classes: Sequence[str]
) -> Source:
    source = _read(name, kind, folder, arguments, download=False)[1]
    if len(source) != kind.test_images:
        raise DataError(
            f"the test split of {name} in {folder} has {len(source):,} images, but "
            f"{kind.test_images:,} are published: download it again"
        )
    check_labels(f"the test split of {name}", source, classes)
    return source


def _check_exists(name: str, kind: DatasetKind, folder: Path) -> None:
    for file in (kind.place, kind.test_place):
        if file is not None and not _exists(folder / file):
            fix = "add `download`" if kind.fetched else "download it by hand"
            raise DataError(f"no {name} in {folder}: {folder / file} is missing; {fix}")


def _exists(path: Path) -> bool:
    """Whether path is a file or a non-empty folder."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _read(
    name: str, kind: DatasetKind, folder: Path, arguments: Arguments, *, download: bool
) -> tuple[Any, Source]:
    """A split as torchvision's data set, and as a source."""
    options = dict(arguments) | ({"download": download} if kind.fetched else {})
    if kind.reads == "loader":
        # This loader returns the path of an image, so that nothing is decoded.
        options["loader"] = Path
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = getattr(torchvision.datasets, kind.cls)(str(folder), **options)
            return dataset, _source(dataset, kind, folder)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        # Missing or damaged files and network failures raise many different exceptions.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON_LENGTH]
        if download:
            raise DataError(
                f"{name} cannot be downloaded into {folder} ({reason}): check the network, or copy "
                f"{folder / kind.place} from elsewhere"
            ) from error
        fix = "add `download`" if kind.fetched else "download it again by hand"
        raise DataError(
            f"{name} in {folder} is incomplete or damaged ({reason}): remove damaged files, and "
            f"{fix}"
        ) from error


def _source(dataset: Any, kind: DatasetKind, folder: Path) -> Source:
    if kind.reads == "data":
        return Source(_labels_of(dataset), _channels_first(dataset.data))
    if kind.reads == "loader":
        pairs = [dataset[index] for index in range(len(dataset))]
    elif kind.reads == "_samples":
        pairs = dataset._samples
    else:
        pairs = list(zip(dataset._images, dataset._labels, strict=True))
    files = tuple(Path(path) for path, _ in pairs)
    labels = torch.tensor([int(label) for _, label in pairs], dtype=torch.int64)
    return Source(labels, files=files, root=folder)


def _labels_of(dataset: Any) -> Tensor:
    targets = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    labels = torch.as_tensor(np.asarray(targets)).long()
    # QMNIST has several columns, of which the first is the class.
    return labels if labels.dim() == 1 else labels[:, 0]


def _channels_first(data: Any) -> Tensor:
    """Convert pixels (N, H, W), (N, H, W, 3) or (N, 3, H, W) to (N, C, H, W) uint8."""
    images = torch.as_tensor(np.ascontiguousarray(data))
    if images.dtype != torch.uint8:
        raise TypeError(f"pixels are {images.dtype}, not 8 bits")
    if images.dim() == 3:
        return images[:, None]
    return images if images.shape[1] == 3 else images.permute(0, 3, 1, 2).contiguous()


def _classes(dataset: Any, train: Source) -> tuple[str, ...]:
    """First name of each class, or its number if there are no names."""
    names = getattr(dataset, "classes", None)
    if not names:
        return tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return tuple(name if isinstance(name, str) else str(name[0]) for name in names)
