"""Data from Python: a torchvision-style data set, or a pair of them for training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from bamsearch.data.images import Fit
from bamsearch.data.sources import DatasetSource, Source
from bamsearch.data.splits import HELD_BYTES
from bamsearch.errors import DataError, InvalidValueError

Datasets = Dataset[Any] | tuple[Dataset[Any], Dataset[Any]]
"""A data set whose items are (image, label), or one for training and one for validation."""


def open_datasets(data: Datasets, size: tuple[int, int]) -> DatasetSource:
    """Read every item once: images are PIL images, uint8 tensors or arrays, or floats in 0..1.

    Random transforms are thus drawn once, and augmentation is the recipe's.

    Args:
        data: data sets with a length.
        size: (H, W) for images of different sizes.

    Raises:
        InvalidValueError: not a Dataset or a pair.
        DataError: no length, other items, pixels out of range, or more than 1 GiB of pixels.
    """
    pair = data if isinstance(data, tuple) else (data, None)
    if len(pair) != 2 or not all(isinstance(each, Dataset | None) for each in pair):
        raise InvalidValueError("data must be a name, a torch Dataset, or a pair of Datasets")
    train, validation = pair
    name = type(train).__name__
    read = _read(train, name, size)
    held_out = None if validation is None else _read(validation, name, size)
    sources = [source for source in (read, held_out) if source is not None]
    number = 1 + max(int(source.labels.max()) for source in sources)
    named = getattr(train, "classes", None)
    classes = tuple(map(str, named if named else range(number)))
    sizes = {cast(Tensor, source.images).shape[-2:] for source in sources}
    native = cast(tuple[int, int], tuple(*sizes)) if len(sizes) == 1 else None
    return DatasetSource(name, classes, native, read, held_out)


def _read(dataset: Dataset[Any], name: str, size: tuple[int, int]) -> Source:
    if not hasattr(dataset, "__len__") or not len(dataset):
        raise DataError(f"{name} has no length: give a data set with __len__ and __getitem__")
    images: list[Tensor] = []
    labels: list[int] = []
    held = 0
    for number in range(len(dataset)):
        image, label = _item(dataset, number, name)
        images.append(image)
        labels.append(label)
        held += image.numel()
        if held > HELD_BYTES:
            raise DataError(f"{name} has more than 1 GiB of pixels: use imagefolder:DIR")
    channels = max(image.shape[0] for image in images)
    shapes = {image.shape[-2:] for image in images}
    target = (channels, *(next(iter(shapes)) if len(shapes) == 1 else size))
    fit = Fit(cast(tuple[int, int, int], target))
    return Source(torch.tensor(labels), torch.cat([fit.arrays(image[None]) for image in images]))


def _item(dataset: Dataset[Any], number: int, name: str) -> tuple[Tensor, int]:
    item = dataset[number]
    if not isinstance(item, Sequence) or len(item) != 2:
        raise DataError(f"item {number} of {name} is a {type(item).__name__}, not (image, label)")
    image, label = item
    try:
        index = int(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"item {number} of {name} has no integer label") from error
    if index < 0 or index != label:
        raise DataError(f"item {number} of {name} has label {label}: give integers from 0")
    return _pixels(image, f"item {number} of {name}"), index


def _pixels(image: object, name: str) -> Tensor:
    """An image as (1 or 3, H, W) uint8."""
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):  # Pillow would clip them to 0..255
            raise DataError(
                f"{name} has more than 8 bits (mode {image.mode}): convert it to 8 bits, or use "
                "imagefolder:DIR with `value_range`"
            )
        image = F.pil_to_tensor(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    elif isinstance(image, np.ndarray):
        image = F.to_image(image)
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3):
        shape = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise DataError(f"{name} is {shape}: give a PIL image, or (C, H, W) with C of 1 or 3")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point() or not 0 <= float(image.min()) <= float(image.max()) <= 1:
        raise DataError(
            f"{name} has {image.dtype} values outside 0..1: leave Normalize out of its transform, "
            "as a training normalises by the statistics of the training split"
        )
    return (image * 255).round().to(torch.uint8)
