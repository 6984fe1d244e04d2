"""Input size and classes of a network, as determined by a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts, ModelSummary, ValueRange
from bamsearch.text import size_text

if TYPE_CHECKING:
    from bamsearch.data.splits import Data


def resolve(
    data: str | Data | None,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    *,
    download: bool = False,
    contents: bool = True,
    value_range: ValueRange | None = None,
) -> tuple[tuple[int, int] | None, int | None, DataFacts | None]:
    """Resolve input size and classes of a network for a data set.

    Args:
        data: value of ``--data``, or loaded data; None returns the other two unchanged.
        input_size: value of ``--input-size``; only for data with images of different sizes.
        num_classes: value of ``--num-classes``.
        download: download missing data.
        contents: see :func:`bamsearch.data.loading.load_data`.
        value_range: value of ``--value-range``, see :func:`bamsearch.data.loading.load_data`.

    Returns:
        Input size, classes, and facts about the data.

    Raises:
        InvalidValueError: size or number of classes contradict the data, or an option requires
            ``--data``.
        DataError: as :func:`bamsearch.data.loading.load_data`.
    """
    if data is None:
        if download:
            raise InvalidValueError("`download` requires data: add `data=NAME`")
        if value_range is not None:
            raise InvalidValueError("`value_range` requires data: add `data=NAME`")
        return input_size, num_classes, None
    if isinstance(data, str):
        # Imported here because it loads torch.
        from bamsearch.data.loading import load_data

        data = load_data(
            data,
            input_size=input_size,
            download=download,
            contents=contents,
            value_range=value_range,
        )
    facts, native = data.facts, data.native_size
    if native is not None and input_size is not None and input_size != native:
        raise InvalidValueError(
            f"`data={facts.name}` has images of {size_text(native)}, but `input_size` is "
            f"{size_text(input_size)}: omit `input_size`"
        )
    if num_classes not in (None, facts.classes):
        raise InvalidValueError(
            f"`data={facts.name}` has {facts.classes} classes, but `num_classes` is {num_classes}: "
            "omit `num_classes`"
        )
    return facts.input_shape[1:], facts.classes, facts


def check_model_fits_data(facts: DataFacts | None, summary: ModelSummary) -> None:
    """Raise DataError if the model's input shape differs from the data's, as for video clips."""
    if facts is not None and facts.input_shape != summary.input_shape:
        raise DataError(
            f"`data={facts.name}` has inputs of {size_text(facts.input_shape)}, but "
            f"{summary.model} takes {size_text(summary.input_shape)}: choose another MODEL"
        )
