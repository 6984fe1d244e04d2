"""What is known of a data set: enough to tell whether two results are of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Annotated

from bamsearch.errors import InvalidValueError
from bamsearch.records.hints import Mark, Natural, Positive

ValueRange = tuple[float, float]
"""The values of a file's pixels that become black and white; values beyond them are clipped."""


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
    """As typed after ``--value-range``: ``0:4095``."""
    return ":".join(str(int(end)) if end.is_integer() else repr(end) for end in value_range)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A labelled data set, split in three and brought to a network's input.

    Attributes:
        name: as given to ``--data``: ``digits``, ``fashion-mnist:DIR``.
        input_shape: C, H, W of what networks get. One-channel images are repeated to three for
            C = 3; colour becomes grey for C = 1.
        classes: how many there are.
        train: images in the training split.
        validation: images in the validation split.
        test: images in the test split; of an official one the number that is published.
        hash: 16 hex digits of SHA-256 over the kind of data, the names of the classes, the split
            seed and, for each split in order, its labels and its content: the pixels as they are
            stored, before any resizing, where the set comes as arrays; relative path and size in
            bytes of each file, where a published set comes as files; relative path and SHA-256 of
            each file of a user's folder, whose hash starts with ``c:``. (Without it the record is
            old, and the folder counted by paths and sizes.) Of a published set's test split only
            the number of images is in it, as nothing of that is read before it is asked for. The
            folder, the input size and the channels are not in it; the value range is, if any.
        split_seed: of what was drawn from the training images for the other splits.
        value_range: values of the user's files that become black and white, where they have more
            than 8 bits and their type's range is not theirs; None: the type's range.
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
