"""Table of the supported data sets of torchvision.

Not supported are data sets without a single class per image (boxes, masks, captions, pairs),
videos, and those whose test labels are not published. Other images are read by ``imagefolder``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torchvision

from bamsearch.errors import DataError

Arguments = Mapping[str, Any]

Reads = Literal["data", "loader", "_samples", "_images"]
"""``data``: images are in memory, in the attribute ``data``. ``loader``: the class takes a function
of paths. Others: the attribute with the paths, for classes without ``loader``."""

_TRAIN: Arguments = {"train": True}
_TEST: Arguments = {"train": False}


def _split(name: str) -> Arguments:
    return {"split": name}


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
    train: Arguments = field(default_factory=lambda: _TRAIN)
    test: Arguments | None = field(default_factory=lambda: _TEST)
    validation: Arguments | None = None
    reads: Reads = "data"
    test_place: str | None = None
    fetched: bool = True


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
    "country211": DatasetKind(
        "Country211",
        "country211",
        None,
        21_100,
        train=_split("train"),
        validation=_split("valid"),
        test=_split("test"),
        reads="loader",
    ),
    "dtd": DatasetKind(
        "DTD",
        "dtd/dtd",
        None,
        1_880,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "fgvc-aircraft": DatasetKind(
        "FGVCAircraft",
        "fgvc-aircraft-2013b",
        None,
        3_333,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "flowers102": DatasetKind(
        "Flowers102",
        "flowers-102",
        None,
        6_149,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "food101": DatasetKind(
        "Food101",
        "food-101",
        None,
        25_250,
        train=_split("train"),
        test=_split("test"),
        reads="loader",
    ),
    "gtsrb": DatasetKind(
        "GTSRB",
        "gtsrb/GTSRB/Training",
        None,
        12_630,
        train=_split("train"),
        test=_split("test"),
        reads="_samples",
        test_place="gtsrb/GTSRB/Final_Test/Images",
    ),
    "imagenet": DatasetKind(
        "ImageNet",
        ".",
        None,
        50_000,
        train=_split("train"),
        test=_split("val"),
        reads="loader",
        fetched=False,
    ),
    "imagenette": DatasetKind(
        "Imagenette",
        "imagenette2",
        None,
        3_925,
        train=_split("train"),
        test=_split("val"),
        reads="loader",
    ),
    "oxford-iiit-pet": DatasetKind(
        "OxfordIIITPet",
        "oxford-iiit-pet",
        None,
        3_669,
        train=_split("trainval"),
        test=_split("test"),
        reads="_images",
    ),
    "rendered-sst2": DatasetKind(
        "RenderedSST2",
        "rendered-sst2",
        None,
        1_821,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "stanford-cars": DatasetKind(
        "StanfordCars",
        "stanford_cars",
        None,
        8_041,
        train=_split("train"),
        test=_split("test"),
        reads="loader",
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
