"""Photographs as networks see them: read, upright, in the right size, normalised.

The reader is Pillow (``pillow`` on PyPI). The formats are those of photographs; Pillow also opens
PostScript, by running another program, and that is left out.
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

from bamsearch.attention.levels import (
    COLOUR,
    Levels,
    Range,
    as_bytes,
    wide_type,
    wide_values,
)
from bamsearch.errors import BamsearchError, InvalidValueError

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "TGA")

_PIXELS, _PER_BYTE = 2**24, 10_000
"""More pixels than the first need a byte for every 10,000: deflate gets 8,256 at best."""

MAX_ASPECT = 10
"""How many times as long as wide a whole photograph may be; each side costs memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Framed:
    """A photograph in the size of a network's input.

    Attributes:
        picture: what the network sees, RGB, or L for a network of one channel.
        box: the part of the upright photograph that it is: left, top, right, bottom in pixels.
    """

    picture: Image.Image
    box: tuple[float, float, float, float]

    def place(self, row: int, column: int, height: int, width: int) -> tuple[float, float]:
        """The middle of a cell of a height x width map, as x, y in the upright photograph.

        A map's cells are taken to tile the input: what a cell sees is about there, not exactly.
        """
        left, top, right, bottom = self.box
        x = left + (column + 0.5) / width * (right - left)
        y = top + (row + 0.5) / height * (bottom - top)
        return x, y


def read_photograph(
    path: Path, value_range: Range = None, levels: Levels | None = None
) -> Image.Image:
    """Read a photograph: upright, 8 bits, RGB, the first frame, on white where it is transparent.

    Args:
        path: a file in one of :data:`FORMATS`.
        value_range: values that become black and white in files of more than 8 bits.
        levels: counts in such a file; None, with no range, checks it by itself.

    Raises:
        InvalidValueError: no such file, no picture, cut short, or over Pillow's number of pixels.
        DataError: more than 8 bits, and no range that is sure; see
            :class:`bamsearch.attention.levels.Levels`.
    """
    if path.is_dir():
        raise InvalidValueError(f"{path} is a folder: give the pictures in it, as {path}/*.jpg")
    if not path.exists():
        raise InvalidValueError(f"no picture at {path}: check the path")
    with _explained(path), _opened(path) as image:
        wide = wide_type(image)
        upright = ImageOps.exif_transpose(image)
        if wide is None:
            return _as_rgb(upright)
        values = wide_values(upright, wide)
        named = value_range if isinstance(value_range, tuple) else None
        if levels is not None:
            levels.add(path, wide, values)
        elif value_range is None or (named is None and wide.sure == "never"):
            alone = Levels()
            alone.add(path, wide, values)
            alone.check()
        chosen = wide.full if named is None or wide.sure == "always" else named
        if wide is COLOUR:
            table = as_bytes(np.arange(256) * 257, chosen).tolist()
            return _as_rgb(upright).point(table * 3)
        return Image.fromarray(as_bytes(values, chosen)).convert("RGB")


def is_wide(path: Path) -> bool:
    """Whether a file has more than 8 bits, from its header; False where it cannot be read."""
    try:
        with _explained(path), _opened(path) as image:
            return wide_type(image) is not None
    except InvalidValueError:
        return False


def frame(photograph: Image.Image, input_shape: Sequence[int], *, whole: bool = False) -> Framed:
    """Bring a photograph to the size of a network's input.

    Args:
        photograph: from :func:`read_photograph`.
        input_shape: (C, H, W), C being 1 or 3.
        whole: keep all of it at its aspect ratio, the short side as long as the input's; else the
            input is filled and what stands over is cut off evenly.

    Raises:
        InvalidValueError: a network with other channels; a whole photograph that is too long.
    """
    channels, height, width = input_shape
    if channels not in (1, 3):
        raise InvalidValueError(
            f"the network takes {channels} channels, and a photograph has 3 or 1"
        )
    across, down = photograph.size
    if whole:
        if max(across, down) > MAX_ASPECT * min(across, down):
            raise InvalidValueError(
                f"a photograph of {across}×{down} is too long to be shown whole: "
                "cut it, or leave out --full"
            )
        scale = min(height, width) / min(across, down)
        height, width = round(down * scale), round(across * scale)
    scale = max(height / down, width / across)
    left, top = (across - width / scale) / 2, (down - height / scale) / 2
    box = (max(left, 0.0), max(top, 0.0), min(across - left, across), min(down - top, down))
    picture = photograph.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return Framed(picture.convert("L") if channels == 1 else picture, box)


def as_input(picture: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A batch of one (1, C, H, W): values in 0..1, less the mean, by the standard deviation."""
    batch: Tensor = normalize(to_tensor(picture), list(mean), list(std))[None]
    return batch


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The image with its header read; one of too many pixels is refused before it is decoded."""
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
    """Turn whatever a file makes Pillow raise into one line."""
    try:
        # Pillow warns of odd EXIF data, which does not change what is shown.
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidValueError(
            f"{path} has too many pixels, over {Image.MAX_IMAGE_PIXELS:,}: make it smaller first"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidValueError(
            f"{path} is not a readable picture: convert it to PNG or JPEG"
        ) from error
    except (MemoryError, BamsearchError):
        raise
    except Exception as error:
        # A spoilt file raises whatever its decoder stumbles over.
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InvalidValueError(
            f"{path} cannot be read as a picture ({reason}): convert it to PNG or JPEG"
        ) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
