"""Facts about a data set that identify its images."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Annotated

from bamsearch.errors import InvalidValueError
from bamsearch.records.hints import Mark, Natural, Positive

ValueRange = tuple[float, float]
"""Pixel values that become black and white; values beyond them are clipped."""


def check_value_range(value_range: object) -> ValueRange:
    """The range as two floats.

    Args:
        value_range: (lo, hi), the values that become black and white.

    Raises:
        InvalidValueError: not two finite numbers, or lo is not below hi.
    """
    try:
        low, high = map(float, value_range)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        raise InvalidValueError(f"value range {value_range!r}: give (lo, hi)") from None
    if not (isfinite(low) and isfinite(high) and low < high):
        raise InvalidValueError(
            f"value range {low:g}:{high:g}: give finite LO:HI with LO below HI, such as 0:4095"
        )
    return low, high


def value_range_text(value_range: ValueRange) -> str:
    """The range as typed after ``--value-range``: ``0:4095``."""
    return ":".join(str(int(end)) if end.is_integer() else repr(end) for end in value_range)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A labelled data set, split in three and resized to a network's input.

    Attributes:
        name: name as in ``--data``: ``digits``, ``fashion-mnist:DIR``.
        input_shape: (C, H, W) of network inputs. One-channel images are repeated for C = 3; colour
            becomes grey for C = 1.
        classes: number of classes.
        train: images in the training split.
        validation: images in the validation split.
        test: images in the test split; for an official one the published number.
        hash: 16 hex digits of SHA-256 over the kind of data, the names of the classes, the split
            seed and, for each split in order, its labels and its content: the stored pixels,
            before any resizing, if the set comes as arrays; relative path and size in bytes of
            each file if a published set comes as files; relative path and SHA-256 of each file of a
            user's folder, whose hash starts with ``c:`` (older records hash paths and sizes and
            lack the prefix). For a published test split only the number of images is included, as
            it is not read before it is needed. The folder, the input size and the channels are not
            included; the value range is, if any.
        split_seed: seed of the splits drawn from the training images.
        value_range: pixel values that become black and white, for files of more than 8 bits that do
            not use the range of their type; None: the type's range.
    """

    name: str
    input_shape: tuple[Positive, Positive, Positive]
    classes: Positive
    train: Natural
    validation: Natural
    test: Natural
    hash: str
    split_seed: int
    value_range: Annotated[ValueRange | None, Mark.SPARSE] = None

    def __post_init__(self) -> None:
        if self.value_range is not None:
            check_value_range(self.value_range)
