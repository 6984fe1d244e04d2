"""The data sets of torchvision that can be named, and what is read of each.

Left out are those without one class an image (boxes, masks, captions, pairs), videos, and those
whose test labels are not published. A folder of anyone's images is ``imagefolder``.
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
"""``data``: the images are in memory, in ``data``. ``loader``: a function that is given paths.
The rest: the attribute with the paths, for classes that let no ``loader`` in."""

_TRAIN: Arguments = {"train": True}
_TEST: Arguments = {"train": False}


def _split(name: str) -> Arguments:
    return {"split": name}


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of ``torchvision.datasets``.

    Attributes:
        cls: its name there.
        place: what it reads below DIR.
        size: H and W of every image; None where they differ.
        test_images: how many its test split has, as published; 0 where it has no such split.
        train: arguments for the images to learn from.
        test: arguments for the test split; None: a part of ``train``, as the validation is then.
        validation: arguments for a published validation split; None: a part of ``train``.
        reads: where the images are.
        test_place: what the test split reads below DIR, where that is a file of its own.
        fetched: whether torchvision can download it.
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
    "mnist": Kind("MNIST", "MNIST/raw", (28, 28), 10_000),
    "fashion-mnist": Kind("FashionMNIST", "FashionMNIST/raw", (28, 28), 10_000),
    "kmnist": Kind("KMNIST", "KMNIST/raw", (28, 28), 10_000),
    "emnist": Kind(
        "EMNIST",
        "EMNIST/raw",
        (28, 28),
        18_800,
        train={"split": "balanced", "train": True},
        test={"split": "balanced", "train": False},
    ),
    "qmnist": Kind(
        "QMNIST",
        "QMNIST/raw/qmnist-train-images-idx3-ubyte",
        (28, 28),
        60_000,
        test_place="QMNIST/raw/qmnist-test-images-idx3-ubyte",
    ),
    "usps": Kind("USPS", "usps.bz2", (16, 16), 2_007, test_place="usps.t.bz2"),
    "semeion": Kind("SEMEION", "semeion.data", (16, 16), 0, train={}, test=None),
    "cifar10": Kind("CIFAR10", "cifar-10-batches-py", (32, 32), 10_000),
    "cifar100": Kind("CIFAR100", "cifar-100-python", (32, 32), 10_000),
    "svhn": Kind(
        "SVHN",
        "train_32x32.mat",
        (32, 32),
        26_032,
        train=_split("train"),
        test=_split("test"),
        test_place="test_32x32.mat",
    ),
    "stl10": Kind(
        "STL10", "stl10_binary", (96, 96), 8_000, train=_split("train"), test=_split("test")
    ),
    "eurosat": Kind("EuroSAT", "eurosat/2750", (64, 64), 0, train={}, test=None, reads="loader"),
    "sun397": Kind("SUN397", "SUN397", None, 0, train={}, test=None, reads="loader"),
    "country211": Kind(
        "Country211",
        "country211",
        None,
        21_100,
        train=_split("train"),
        validation=_split("valid"),
        test=_split("test"),
        reads="loader",
    ),
    "dtd": Kind(
        "DTD",
        "dtd/dtd",
        None,
        1_880,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "fgvc-aircraft": Kind(
        "FGVCAircraft",
        "fgvc-aircraft-2013b",
        None,
        3_333,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "flowers102": Kind(
        "Flowers102",
        "flowers-102",
        None,
        6_149,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "food101": Kind(
        "Food101",
        "food-101",
        None,
        25_250,
        train=_split("train"),
        test=_split("test"),
        reads="loader",
    ),
    "gtsrb": Kind(
        "GTSRB",
        "gtsrb/GTSRB/Training",
        None,
        12_630,
        train=_split("train"),
        test=_split("test"),
        reads="_samples",
        test_place="gtsrb/GTSRB/Final_Test/Images",
    ),
    "imagenet": Kind(
        "ImageNet",
        ".",
        None,
        50_000,
        train=_split("train"),
        test=_split("val"),
        reads="loader",
        fetched=False,
    ),
    "imagenette": Kind(
        "Imagenette",
        "imagenette2",
        None,
        3_925,
        train=_split("train"),
        test=_split("val"),
        reads="loader",
    ),
    "oxford-iiit-pet": Kind(
        "OxfordIIITPet",
        "oxford-iiit-pet",
        None,
        3_669,
        train=_split("trainval"),
        test=_split("test"),
        reads="_images",
    ),
    "rendered-sst2": Kind(
        "RenderedSST2",
        "rendered-sst2",
        None,
        1_821,
        train=_split("train"),
        validation=_split("val"),
        test=_split("test"),
        reads="loader",
    ),
    "stanford-cars": Kind(
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
"""What to write before the colon → what is read. ImageNet and Imagenette publish no test labels:
their ``val`` is the test split here, and the validation is taken from ``train``."""

OWN_NAMES = ("digits", "imagefolder")
"""The names that are not torchvision's."""


def find_kind(name: str) -> str:
    """The key of :data:`KINDS`, or one of :data:`OWN_NAMES`, for a name as it was typed.

    ``FashionMNIST`` and ``fashion_mnist`` are ``fashion-mnist``.

    Raises:
        DataError: no such data, or data that bamsearch has no use for.
    """
    plain = {_plain(key): key for key in (*OWN_NAMES, *KINDS)}
    plain |= {_plain(kind.cls): key for key, kind in KINDS.items()}
    wanted = _plain(name)
    if wanted in plain:
        return plain[wanted]
    other = next((cls for cls in torchvision.datasets.__all__ if _plain(cls) == wanted), None)
    if other is not None:
        raise DataError(
            f"torchvision's {other} is not read here, as its images do not have one class each, or "
            "no training and test splits; imagefolder:DIR takes a folder for each class"
        )
    near = difflib.get_close_matches(wanted, plain, n=3)
    keys = list(dict.fromkeys(plain[one] for one in near))
    hint = f"did you mean {', '.join(keys)}?" if keys else f"there are {', '.join(plain.values())}"
    raise DataError(f"no data is called {name!r}: {hint}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
