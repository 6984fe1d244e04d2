"""Convert stored images to the size and channels of a network's input, still in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from bamsearch.attention.levels import RangeOption
from bamsearch.attention.photographs import frame, read_photograph
from bamsearch.errors import DataError, InvalidValueError

# Images resized at once: temporary memory stays below 1 GB at 224x224.
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Fit:
    """Target size and channels of images.

    Images are resized by their short side and cropped at the centre. Grey images are repeated to
    three channels, and colour images are converted to grey for one channel.

    Attributes:
        shape: (C, H, W) with C of 1 or 3.
        value_range: values that become black and white in files of more than 8 bits.
    """

    shape: tuple[int, int, int]
    value_range: RangeOption = None

    def arrays(self, images: Tensor) -> Tensor:
        """Convert images (N, C, H, W) uint8 of equal size to this shape."""
        channels = self.shape[0]
        if channels == 1 and images.shape[1] == 3:
            images = F.rgb_to_grayscale(images)
        if tuple(images.shape[-2:]) != self.shape[1:]:
            images = torch.cat([self._resized(part) for part in torch.split(images, _CHUNK)])
        if channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return images.contiguous()

    def file(self, path: Path) -> Tensor:
        """Read a file as (C, H, W) uint8 with :mod:`bamsearch.attention.photographs`.

        Raises:
            DataError: the file cannot be read, or its value range is unknown.
        """
        try:
            picture = frame(read_photograph(path, self.value_range), self.shape).picture
        except InvalidValueError as error:
            raise DataError(
                f"{path} is not a readable image (unreadable images are never skipped): repair or "
                "remove it"
            ) from error
        pixels: Tensor = F.pil_to_tensor(picture)
        return pixels

    def _resized(self, images: Tensor) -> Tensor:
        height, width = self.shape[1:]
        scale = max(height / images.shape[-2], width / images.shape[-1])
        size = [max(round(images.shape[-2] * scale), height), round(images.shape[-1] * scale)]
        size[1] = max(size[1], width)
        resized: Tensor = F.center_crop(F.resize(images, size, antialias=True), [height, width])
        return resized
