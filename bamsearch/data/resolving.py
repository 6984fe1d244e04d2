"""What a data set decides of a network: its input size and its classes."""

from __future__ import annotations

from bamsearch.errors import InvalidValueError
from bamsearch.records import DataFacts, ValueRange


def resolve(
    data: str | None,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    *,
    download: bool = False,
    contents: bool = True,
    value_range: ValueRange | None = None,
) -> tuple[tuple[int, int] | None, int | None, DataFacts | None]:
    """Input size and classes of a network that is for the data.

    Args:
        data: what ``--data`` was given; None leaves the other two as they are.
        input_size: what ``--input-size`` was given; only data whose images differ in size take it.
        num_classes: what ``--num-classes`` was given.
        download: whether to fetch what is not there.
        contents: see :func:`bamsearch.data.loading.load_data`.
        value_range: what ``--value-range`` was given; see there too.

    Returns:
        Input size, classes, and what is known of the data.

    Raises:
        InvalidValueError: another size or number of classes than the data have; nothing to fetch.
        DataError: as :func:`bamsearch.data.loading.load_data`.
    """
    if data is None:
        if download:
            raise InvalidValueError("--download fetches data, and none is named: add --data NAME")
        if value_range is not None:
            raise InvalidValueError("--value-range is for data, and none is named: add --data NAME")
        return input_size, num_classes, None
    # Here, as it loads torch.
    from bamsearch.data.loading import load_data

    loaded = load_data(
        data,
        input_size=input_size,
        download=download,
        contents=contents,
        value_range=value_range,
    )
    facts, native = loaded.facts, loaded.native_size
    if native is not None and input_size not in (None, native):
        raise InvalidValueError(
            f"--data {data} has images of {_size(native)}, --input-size is {_size(input_size)}: "
            "leave --input-size out"
        )
    if num_classes not in (None, facts.classes):
        raise InvalidValueError(
            f"--data {data} has {facts.classes} classes, --num-classes is {num_classes}: "
            "leave --num-classes out"
        )
    return facts.input_shape[1:], facts.classes, facts


def _size(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))
