"""Read photographs and convert them to network inputs: upright, resized, normalised.

Files are read by Pillow, restricted to image formats: Pillow also opens PostScript, by running
another program.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.functional import normalize, to_tensor

from bamsearch.attention.levels import COLOUR, Levels, RangeOption, as_bytes, wide_type, wide_values
from bamsearch.errors import BamsearchError, InvalidValueError, first_line

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA")

_PIXELS, _PER_BYTE = 2**24, 10_000
"""Larger images than the first need a byte per 10,000 pixels: deflate gets 8,256 at best."""

MAX_ASPECT = 10
"""Maximum aspect ratio of a whole photograph, which limits memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A photograph in the size of a network's input.

    Attributes:
        picture: the input, RGB, or L for a network with one channel.
        box: its region in the upright photograph: left, top, right, bottom in pixels.
    """

    picture: Image.Image
    box: tuple[float, float, float, float]

    def place(self, row: int, column: int, height: int, width: int) -> tuple[float, float]:
        """Centre (x, y) of a cell of a height x width map in the upright photograph.

        Assumes that the cells tile the input, which is an approximation of their receptive fields.
        """
        left, top, right, bottom = self.box
        x = left + (column + 0.5) / width * (right - left)
        y = top + (row + 0.5) / height * (bottom - top)
        return x, y


def read_photograph(
    path: Path, value_range: RangeOption = None, levels: Levels | None = None
) -> Image.Image:
    """Read a photograph as upright 8-bit RGB: the first frame, on white if transparent.

    Args:
        path: a file in one of :data:`FORMATS`.
        value_range: values that become black and white in files of more than 8 bits.
        levels: statistics to which files of more than 8 bits are added; None checks the file alone
            if there is no range.

    Raises:
        InvalidValueError: the file is missing, not an image, truncated, or exceeds Pillow's number
            of pixels.
        DataError: more than 8 bits with unknown value range; see
            :class:`bamsearch.attention.levels.Levels`.
    """
    if path.is_dir():
        raise InvalidValueError(f"{path} is a folder: pass the images in it, as {path}/*.jpg")
    if not path.exists():
        raise InvalidValueError(f"no image at {path}: check the path")
    with _explained(path), _opened(path) as image:
        wide = wide_type(image)
        upright = ImageOps.exif_transpose(image)
        if wide is None:
            return _as_rgb(upright)
        values = wide_values(upright, wide)
        user_range = value_range if isinstance(value_range, tuple) else None
        if levels is not None:
            levels.add(path, wide, values)
        elif value_range is None or (user_range is None and wide.sure == "never"):
            single = Levels()
            single.add(path, wide, values)
            single.check()
        chosen = wide.full if user_range is None or wide.sure == "always" else user_range
        if wide is COLOUR:
            table = as_bytes(np.arange(256) * 257, chosen).tolist()
            return _as_rgb(upright).point(table * 3)
        return Image.fromarray(as_bytes(values, chosen)).convert("RGB")


def is_wide(path: Path) -> bool:
    """Whether a file has more than 8 bits, from its header; False if it cannot be read."""
    try:
        with _explained(path), _opened(path) as image:
            return wide_type(image) is not None
    except InvalidValueError:
        return False


def frame(photograph: Image.Image, input_shape: Sequence[int], *, whole: bool = False) -> Framed:
    """Resize a photograph to a network's input.

    Args:
        photograph: photograph from :func:`read_photograph`.
        input_shape: (C, H, W) with C of 1 or 3.
        whole: keep the whole photograph at its aspect ratio, with the short side of the input; else
            crop the centre.

    Raises:
        InvalidValueError: another number of channels, or a whole photograph with an aspect ratio
            above :data:`MAX_ASPECT`.
    """
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise InvalidValueError(
            f"the network expects {channels} channels, but photographs have 3 or 1"
        )
    old_width, old_height = photograph.size
    if whole:
        if max(old_width, old_height) > MAX_ASPECT * min(old_width, old_height):
            raise InvalidValueError(
                f"a photograph of {old_width}×{old_height} is too elongated to be shown whole: "
                "crop it, or omit `full`"
            )
        scale = min(height, width) / min(old_width, old_height)
        height, width = round(old_height * scale), round(old_width * scale)
    scale = max(height / old_height, width / old_width)
    left = max((old_width - width / scale) / 2, 0.0)
    top = max((old_height - height / scale) / 2, 0.0)
    box = (left, top, old_width - left, old_height - top)
    picture = photograph.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return Framed(picture.convert("L") if channels == 1 else picture, box)


def as_input(picture: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A batch of one (1, C, H, W): values in 0..1, normalised by mean and standard deviation."""
    batch: Tensor = normalize(to_tensor(picture), list(mean), list(std))[None]
    return batch


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image and read its header; images with too many pixels are refused undecoded."""
    if not path.is_file():
        raise OSError("not a regular file")
    with Image.open(path, formats=FORMATS) as image:
        pixels, size = image.width * image.height, path.stat().st_size
        if pixels > max(_PIXELS, size * _PER_BYTE):
            raise InvalidValueError(
                f"{path} claims {image.width}×{image.height} pixels in {size:,} bytes, so it is "
                "damaged: remove it or save it again"
            )
        yield image


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Convert Pillow's errors to InvalidValueError with a one-line message."""
    try:
        # Pillow warns about unusual EXIF data, which does not affect the pixels.
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidValueError(
            f"{path} has too many pixels, over {Image.MAX_IMAGE_PIXELS:,}: make it smaller first"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidValueError(
            f"{path} is not a readable image: convert it to PNG or JPEG"
        ) from error
    except (MemoryError, BamsearchError):
        raise
    except Exception as error:
        # Decoders raise many different exceptions for damaged files.
        raise InvalidValueError(
            f"{path} cannot be read as an image ({first_line(error)}): convert it to PNG or JPEG"
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
