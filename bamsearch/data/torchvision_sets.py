"""Data sets of ``torchvision.datasets``, read as :mod:`bamsearch.data.kinds` says."""

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

from bamsearch.data.kinds import KINDS, Arguments, Kind
from bamsearch.data.sources import Opened, Source, Unopened, check_labels
from bamsearch.errors import DataError

_REASON_LENGTH = 200


def open_published(name: str, folder: Path, *, download: bool) -> Opened:
    """A published data set below a folder; nothing of its test split is read.

    Args:
        name: a key of :data:`bamsearch.data.kinds.KINDS`.
        folder: torchvision's ``root``.
        download: fetch what is not there.

    Raises:
        DataError: it is not there, cannot be fetched, or is incomplete.
    """
    kind = KINDS[name]
    if download and not kind.fetched:
        raise DataError(
            f"torchvision cannot download {name}: leave --download out, and put {kind.place} and "
            f"what else it needs into {folder}"
        )
    if not download:
        _check_there(name, kind, folder)
    read = partial(_read, name, kind, folder)
    dataset, train = read(kind.train, download=download)
    if download and kind.test_place is not None and not _is_there(folder / kind.test_place):
        read(kind.test or {}, download=True)  # fetched with the rest; what it holds is dropped
    validation = None if kind.validation is None else read(kind.validation, download=False)[1]
    classes = _classes(dataset, train)
    test = None
    if kind.test is not None:
        test = Unopened(
            kind.test_images, partial(_open_test, name, kind, folder, kind.test, classes)
        )
    return Opened(name, classes, kind.size, train, validation, test)


def _open_test(
    name: str, kind: Kind, folder: Path, arguments: Arguments, classes: Sequence[str]
) -> Source:
    source = _read(name, kind, folder, arguments, download=False)[1]
    if len(source) != kind.test_images:
        raise DataError(
            f"the test split of {name} in {folder} has {len(source):,} images, and "
            f"{kind.test_images:,} are published: fetch it again"
        )
    check_labels(f"the test split of {name}", source, classes)
    return source


def _check_there(name: str, kind: Kind, folder: Path) -> None:
    for place in (kind.place, kind.test_place):
        if place is not None and not _is_there(folder / place):
            cure = "--download fetches it" if kind.fetched else "it must be fetched by hand"
            raise DataError(f"no {name} in {folder}: {folder / place} is not there; {cure}")


def _is_there(path: Path) -> bool:
    """Whether it is a file, or a folder with something in it."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _read(
    name: str, kind: Kind, folder: Path, arguments: Arguments, *, download: bool
) -> tuple[Any, Source]:
    """A split as torchvision has it, and as a source."""
    given = dict(arguments) | ({"download": download} if kind.fetched else {})
    if kind.reads == "loader":
        # A loader is given the path of an image: here it hands it back, and nothing is decoded.
        given["loader"] = Path
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = getattr(torchvision.datasets, kind.cls)(str(folder), **given)
            return dataset, _source(dataset, kind, folder)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        # Whatever a missing or spoilt file, or a network that is not there, leads to.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON_LENGTH]
        if download:
            raise DataError(
                f"{name} cannot be downloaded into {folder} ({reason}): look at the network, or "
                f"bring {folder / kind.place} from elsewhere"
            ) from error
        cure = "--download fetches what is missing" if kind.fetched else "fetch it again by hand"
        raise DataError(
            f"{name} in {folder} is incomplete or spoilt ({reason}): remove what is spoilt; {cure}"
        ) from error


def _source(dataset: Any, kind: Kind, folder: Path) -> Source:
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
    found = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    labels = torch.as_tensor(np.asarray(found)).long()
    # QMNIST has more than the class in a row: it is the first.
    return labels if labels.dim() == 1 else labels[:, 0]


def _channels_first(data: Any) -> Tensor:
    """Pixels (N, H, W), (N, H, W, 3) or (N, 3, H, W) as (N, C, H, W) uint8."""
    images = torch.as_tensor(np.ascontiguousarray(data))
    if images.dtype != torch.uint8:
        raise TypeError(f"pixels are {images.dtype}, not 8 bits")
    if images.dim() == 3:
        return images[:, None]
    return images if images.shape[1] == 3 else images.permute(0, 3, 1, 2).contiguous()


def _classes(dataset: Any, train: Source) -> tuple[str, ...]:
    """Names of the classes, of several names the first; their numbers where there are none."""
    names = getattr(dataset, "classes", None)
    if not names:
        return tuple(str(label) for label in range(int(train.labels.max()) + 1))
    return tuple(name if isinstance(name, str) else str(name[0]) for name in names)
