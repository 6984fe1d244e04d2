"""Convert the bytes of a data set to network inputs: augmentation and normalisation.

torchvision's transforms draw one random number per batch. The transforms here draw one per image,
for all images at once, so that images on a GPU are not processed one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from bamsearch.training.recipe import Augment

Transform = Callable[[Tensor], Tensor]

_BORDER = 8
"""A crop shifts an image by up to its size divided by this: 4 of 32 pixels, as usual on CIFAR."""

_AREA = (0.08, 1.0)
"""Share of the area of a resized crop: torchvision's default, also used in the papers."""


def normalise_pixels(mean: Sequence[float], std: Sequence[float]) -> Transform:
    """Convert bytes (N, C, H, W) to floats, normalised by mean and deviation of pixels in 0..1."""
    # A constant channel has a deviation of 0: divide by one grey level instead.
    safe = [max(value, 1 / 255) for value in std]
    compose: Transform = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), safe)]
    )
    return compose


def augment(kind: Augment) -> Transform:
    """A recipe's augmentation of a batch of bytes (N, C, H, W), with torch's random numbers."""
    return {
        "none": lambda images: images,
        "crop": crop_each,
        "flip-crop": lambda images: flip_each(crop_each(images)),
        "resized-crop": lambda images: flip_each(resized_crop_each(images)),
    }[kind]


def flip_each(images: Tensor) -> Tensor:
    """Flip each image horizontally with a probability of 50%."""
    # Drawn on the CPU, as below: the same on every device.
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(-1), images)


def crop_each(images: Tensor) -> Tensor:
    """Shift each image by up to an eighth of its size, padded with black."""
    count, _, height, width = images.shape
    border = [max(1, round(size / _BORDER)) for size in (height, width)]
    padded = F.pad(images, (border[1], border[1], border[0], border[0]))
    top, left = (torch.randint(0, 2 * size + 1, (count, 1)) for size in border)
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    indices = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded[indices, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()


def resized_crop_each(images: Tensor) -> Tensor:
    """Crop a random part of each image, and resize it to the size of the image."""
    crop = v2.RandomResizedCrop(images.shape[-2:], scale=_AREA)
    return torch.stack([crop(image) for image in images])
