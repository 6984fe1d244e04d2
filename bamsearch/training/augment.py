"""From the bytes of a data set to what a network is given.

torchvision's transforms draw once for a whole batch. Those here that are random draw once an image,
and for all of them at once, so that images that are on a GPU are not handled one by one.
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
"""A crop moves an image by up to its size over this: 4 pixels of 32, as usual on CIFAR."""

_AREA = (0.08, 1.0)
"""Share of the area that a resized crop takes, torchvision's default and that of the papers."""


def normalise(mean: Sequence[float], std: Sequence[float]) -> Transform:
    """Bytes (N, C, H, W) to floats, less the mean and over the deviation of pixels in 0..1."""
    # A channel that never changes has no deviation; a grey level is then as good as any.
    safe = [max(value, 1 / 255) for value in std]
    compose: Transform = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), safe)]
    )
    return compose


def augment(kind: Augment) -> Transform:
    """What a recipe does to a batch of bytes (N, C, H, W); random numbers are torch's own."""
    return {
        "none": lambda images: images,
        "crop": crop_each,
        "flip-crop": lambda images: flip_each(crop_each(images)),
        "resized-crop": lambda images: flip_each(resized_crop_each(images)),
    }[kind]


def flip_each(images: Tensor) -> Tensor:
    """Mirror each image left to right, or not, evenly."""
    # Drawn on the CPU, as below: the same on every device.
    heads = torch.rand(len(images)) < 0.5
    return torch.where(heads.to(images.device)[:, None, None, None], images.flip(-1), images)


def crop_each(images: Tensor) -> Tensor:
    """Move each image by up to an eighth of its size; what comes in is black."""
    count, _, height, width = images.shape
    border = [max(1, round(size / _BORDER)) for size in (height, width)]
    padded = F.pad(images, (border[1], border[1], border[0], border[0]))
    top, left = (torch.randint(0, 2 * size + 1, (count, 1)) for size in border)
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    cropped = padded[which, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()


def resized_crop_each(images: Tensor) -> Tensor:
    """Cut a random part out of each image, and resize it to the image's own size."""
    crop = v2.RandomResizedCrop(images.shape[-2:], scale=_AREA)
    return torch.stack([crop(image) for image in images])
