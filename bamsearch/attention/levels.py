"""Value ranges of images of more than 8 bits.

Bytes are in 0..255. The type of wider images does not determine their range: 16-bit files may hold
12 bits of a camera, 32-bit files Hounsfield units, and floats any unit. The range is never taken
from the extremes of an image, which would scale each image differently. It is that of the type
(0..65535 for 16 bits, 0..1 for floats) if the images together fill it, else the user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from bamsearch.errors import DataError
from bamsearch.records import ValueRange, value_range_text

RangeOption = ValueRange | Literal["type"] | None
"""A range; ``type`` is that of the type, already checked; None is that of the type, if filled."""

FILLED = 1 / 1000
"""A type's range is filled if at least this share of all values is in its upper half."""

_ROWS = 256
_FEWEST = 2**15


@dataclass(frozen=True, slots=True)
class Wide:
    """A type of pixels of more than 8 bits.

    Attributes:
        name: name of the type for messages.
        full: range of the type.
        sure: whether images use this range: ``always``, if the file defines white and Pillow scales
            by it; only if ``filled``; or ``never``.
    """

    name: str
    full: ValueRange
    sure: Literal["always", "filled", "never"] = "filled"


GREY = Wide("16-bit", (0, 65535))
COLOUR = Wide("16-bit colour", (0, 65535))
FLOAT = Wide("floating-point", (0, 1))
INTEGER = Wide("signed or 32-bit integer", (-(2**31), 2**31 - 1), "never")
SCALED = Wide("scaled", (0, 65535), "always")


def wide_type(image: Image.Image) -> Wide | None:
    """The type of an opened image, from its header; None for 8 bits or fewer.

    Args:
        image: image from ``Image.open``, not yet loaded: loading hides that colour has 16 bits.
    """
    if image.mode == "F":
        return FLOAT
    if image.mode.startswith("I"):
        if image.format in ("PPM", "JPEG2000"):
            return SCALED
        return GREY if image.mode != "I" or image.format == "PNG" else INTEGER
    tiles = getattr(image, "tile", ())
    return COLOUR if any(";16" in str(tile) for tile in tiles) else None


def wide_values(image: Image.Image, wide: Wide) -> np.ndarray:
    """The values stored in the file, (H, W), or (H, W, C) for colour."""
    if wide is COLOUR:
        # Pillow keeps only the upper 8 of 16 bits per channel.
        return np.asarray(image.convert("RGB")).astype(np.uint16) * 257
    return np.asarray(image)


def as_bytes(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Convert values to uint8 of the same shape: LO becomes 0, HI 255, others are clipped."""
    low, high = value_range
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        share = np.nan_to_num((part - low) / (high - low) * 255)
        scaled[start : start + _ROWS] = share.clip(0, 255).round().astype(np.uint8)
    return scaled


@dataclass(slots=True)
class _Seen:
    """Statistics over all images of a type."""

    images: int = 0
    values: int = 0
    upper: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    brightest: Path = Path()


class Levels:
    """Statistics of the wide images of a set, to decide a common value range.

    Args:
        value_range: the user's range, if any.
    """

    def __init__(self, value_range: ValueRange | None = None) -> None:
        self._value_range = value_range
        self._seen: dict[Wide, _Seen] = {}

    @property
    def uses_range(self) -> bool:
        """Whether a user's range applies to any image."""
        return any(wide.sure != "always" for wide in self._seen)

    def add(self, path: Path, wide: Wide, values: np.ndarray) -> None:
        """Add an image to the statistics.

        Raises:
            DataError: NaN or infinite pixels, or integers of unknown range.
        """
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise DataError(f"{path} has NaN or infinite pixels: replace them with numbers")
        seen = self._seen.setdefault(wide, _Seen())
        seen.images += 1
        seen.values += values.size
        seen.upper += int(np.count_nonzero(values > sum(wide.full) / 2))
        seen.low = min(seen.low, low)
        if high > seen.high:
            seen.high, seen.brightest = high, path
        if wide.sure == "never" and self._value_range is None:
            raise self._undecided(wide, seen)

    def check(self) -> None:
        """Raise DataError if the images do not fit the range."""
        for wide, seen in self._seen.items():
            if wide.sure == "always":
                continue
            if self._value_range is not None:
                self._check_named(wide, seen, self._value_range)
            elif not _fills(seen, wide):
                raise self._undecided(wide, seen)

    def _check_named(self, wide: Wide, seen: _Seen, value_range: ValueRange) -> None:
        low, high = value_range
        text = value_range_text(value_range)
        if seen.high < low or seen.low > high:
            raise DataError(
                f"{_described(wide, seen)}, all of them outside `value_range={text}`: "
                "give the values of black and white"
            )
        if wide is COLOUR and high - low < _FEWEST:
            raise DataError(
                f"{_described(wide, seen)}, of which only the upper 8 bits can be read, too few "
                f"for `value_range={text}`: convert these images to 8 bits"
            )

    def _undecided(self, wide: Wide, seen: _Seen) -> DataError:
        if wide is COLOUR:
            return DataError(
                f"{_described(wide, seen)}, of which only the upper 8 bits can be read: convert "
                "these images to 8 bits, or add `value_range=LO:HI` if they span 15 bits or more"
            )
        return DataError(
            f"{_described(wide, seen)}, which do not determine black and white: add "
            f"`value_range=LO:HI`, such as `value_range={_example(seen)}`"
        )


def _fills(seen: _Seen, wide: Wide) -> bool:
    inside = wide.full[0] <= seen.low and seen.high <= wide.full[1]
    return inside and seen.upper >= FILLED * seen.values


def _described(wide: Wide, seen: _Seen) -> str:
    more = f" in {seen.images:,} such images" if seen.images > 1 else ""
    return f"{seen.brightest} has {wide.name} values, {seen.low:.7g} to {seen.high:.7g}{more}"


def _example(seen: _Seen) -> str:
    """The range of all used bits for integers from 0, else the extremes."""
    if seen.low >= 0 and seen.high.is_integer() and seen.high > 1:
        return f"0:{2 ** max(int(seen.high).bit_length(), 8) - 1}"
    ends = seen.low, max(seen.high, seen.low + 1)
    return ":".join(f"{end:.4g}" for end in ends)
