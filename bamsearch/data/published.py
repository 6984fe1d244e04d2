"""Data sets by name: scikit-learn's digits, and a table of those of ``torchvision.datasets``.

Not supported are data sets without a single class per image (boxes, masks, captions, pairs),
videos, and those whose test labels are not published. Other images are read by ``imagefolder``.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from torch import Tensor

from bamsearch.data.sources import DatasetSource, LazySplit, Source, check_labels
from bamsearch.errors import DataError

_REASON_LENGTH = 200

_HIGHEST = 16
"""Value of a black pixel in scikit-learn's digits."""

Arguments = Mapping[str, Any]

Reads = Literal["data", "loader", "_samples", "_images"]
"""``data``: images are in memory, in the attribute ``data``. ``loader``: the class takes a function
of paths. Others: the attribute with the paths, for classes without ``loader``."""


@dataclass(frozen=True, slots=True)
class DatasetKind:
    """A class of ``torchvision.datasets``.

    Attributes:
        cls: name of the class.
        place: file or folder in DIR that it reads.
        size: (H, W) of all images; None if they differ.
        test_images: published number of test images; 0 without a test split.
        train: arguments for the training images.
        test: arguments for the test split; None draws it from ``train``.
        validation: arguments for a published validation split; None draws it from ``train``.
        reads: method of reading the images.
        test_place: file or folder in DIR that the test split reads, if separate.
        fetched: whether torchvision can download the data set.
    """

    cls: str
    place: str
    size: tuple[int, int] | None
    test_images: int
    train: Arguments = field(default_factory=lambda: {"train": True})
    test: Arguments | None = field(default_factory=lambda: {"train": False})
    validation: Arguments | None = None
    reads: Reads = "data"
    test_place: str | None = None
    fetched: bool = True


def _split(name: str) -> Arguments:
    return {"split": name}


def _files(
    cls: str, path: str, test_images: int, train: str = "train", test: str = "test", **facts: Any
) -> DatasetKind:
    """A class with files of different sizes and an argument ``split``."""
    facts = {"reads": "loader"} | facts
    return DatasetKind(cls, path, None, test_images, _split(train), _split(test), **facts)


KINDS = {
    "mnist": DatasetKind("MNIST", "MNIST/raw", (28, 28), 10_000),
    "fashion-mnist": DatasetKind("FashionMNIST", "FashionMNIST/raw", (28, 28), 10_000),
    "kmnist": DatasetKind("KMNIST", "KMNIST/raw", (28, 28), 10_000),
    "emnist": DatasetKind(
        "EMNIST",
        "EMNIST/raw",
        (28, 28),
        18_800,
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
    ),
    "qmnist": DatasetKind(
        "QMNIST",
        "QMNIST/raw/qmnist-train-images-idx3-ubyte",
        (28, 28),
        60_000,
        test_place="QMNIST/raw/qmnist-test-images-idx3-ubyte",
    ),
    "usps": DatasetKind("USPS", "usps.bz2", (16, 16), 2_007, test_place="usps.t.bz2"),
    "semeion": DatasetKind("SEMEION", "semeion.data", (16, 16), 0, train={}, test=None),
    "cifar10": DatasetKind("CIFAR10", "cifar-10-batches-py", (32, 32), 10_000),
    "cifar100": DatasetKind("CIFAR100", "cifar-100-python", (32, 32), 10_000),
    "svhn": DatasetKind(
        "SVHN",
        "train_32x32.mat",
        (32, 32),
        26_032,
        train=_split("train"),
        test=_split("test"),
        test_place="test_32x32.mat",
    ),
    "stl10": DatasetKind(
        "STL10", "stl10_binary", (96, 96), 8_000, train=_split("train"), test=_split("test")
    ),
    "eurosat": DatasetKind(
        "EuroSAT", "eurosat/2750", (64, 64), 0, train={}, test=None, reads="loader"
    ),
    "sun397": DatasetKind("SUN397", "SUN397", None, 0, train={}, test=None, reads="loader"),
    "country211": _files("Country211", "country211", 21_100, validation=_split("valid")),
    "dtd": _files("DTD", "dtd/dtd", 1_880, validation=_split("val")),
    "fgvc-aircraft": _files("FGVCAircraft", "fgvc-aircraft-2013b", 3_333, validation=_split("val")),
    "flowers102": _files("Flowers102", "flowers-102", 6_149, validation=_split("val")),
    "food101": _files("Food101", "food-101", 25_250),
    "gtsrb": _files(
        "GTSRB",
        "gtsrb/GTSRB/Training",
        12_630,
        reads="_samples",
        test_place="gtsrb/GTSRB/Final_Test/Images",
    ),
    "imagenet": _files("ImageNet", ".", 50_000, test="val", fetched=False),
    "imagenette": _files("Imagenette", "imagenette2", 3_925, test="val"),
    "oxford-iiit-pet": _files(
        "OxfordIIITPet", "oxford-iiit-pet", 3_669, train="trainval", reads="_images"
    ),
    "rendered-sst2": _files("RenderedSST2", "rendered-sst2", 1_821, validation=_split("val")),
    "stanford-cars": _files(
        "StanfordCars",
        "stanford_cars",
        8_041,
        test_place="stanford_cars/cars_test_annos_withlabels.mat",
        fetched=False,
    ),
}
"""Data sets by the name before the colon. ImageNet and Imagenette publish no test labels: their
``val`` is the test split here, and the validation split is drawn from ``train``."""

OWN_NAMES = ("digits", "imagefolder")
"""Names of data that are not torchvision's."""


def find_kind(name: str) -> str:
    """Normalise a typed name to a key of :data:`KINDS` or one of :data:`OWN_NAMES`.

    ``FashionMNIST`` and ``fashion_mnist`` become ``fashion-mnist``.

    Raises:
        DataError: unknown or unsupported data set.
    """
    plain = {_plain(key): key for key in (*OWN_NAMES, *KINDS)}
    plain |= {_plain(kind.cls): key for key, kind in KINDS.items()}
    wanted = _plain(name)
    if wanted in plain:
        return plain[wanted]
    other = next((cls for cls in torchvision.datasets.__all__ if _plain(cls) == wanted), None)
    if other is not None:
        raise DataError(
            f"torchvision's {other} is not supported: its images do not have a single class, or it "
            "lacks training and test splits; use imagefolder:DIR with a folder per class"
        )
    near = difflib.get_close_matches(wanted, plain, n=3)
    keys = list(dict.fromkeys(plain[name] for name in near))
    hint = (
        f"did you mean {', '.join(keys)}?" if keys else f"choose from {', '.join(plain.values())}"
    )
    raise DataError(f"no data is called {name!r}: {hint}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def open_digits() -> DatasetSource:
    """1,797 grey 8x8 images of ten digits, scaled from 0..16 to 0..255, for all splits."""
    # Imported here: scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / _HIGHEST)).astype(np.uint8)
    source = Source(torch.from_numpy(digits.target).long(), torch.from_numpy(pixels)[:, None])
    return DatasetSource("digits", tuple(map(str, range(10))), (8, 8), source)


def open_published(name: str, folder: Path, *, download: bool) -> DatasetSource:
    """Open a published data set in a folder, without reading its test split.

    Args:
        name: a key of :data:`KINDS`.
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
