"""The options ``--data``, ``--download`` and ``--value-range``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bamsearch.data.resolving import resolve as resolve
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts, ValueRange, check_value_range

if TYPE_CHECKING:
    from bamsearch.records import ModelSummary

data_option = click.option(
    "--data",
    metavar="NAME",
    help="Data set: digits, or KIND:DIR such as imagefolder:DIR; sets input size and classes.",
)
"""Adds ``data: str | None``, the input of :func:`bamsearch.data.resolving.resolve` or
:func:`bamsearch.data.loading.load_data`."""

download_option = click.option("--download", is_flag=True, help="Download --data if it is missing.")
"""Adds ``download: bool``."""


class ValueRangeType(click.ParamType[ValueRange]):
    """``LO:HI``, two finite numbers."""

    name = "value range"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return "LO:HI"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ValueRange:
        """Return (lo, hi).

        Raises:
            click.BadParameter: the value is not LO:HI with LO below HI.
        """
        if isinstance(value, tuple):
            return value
        try:
            return check_value_range(str(value).split(":"))
        except InvalidValueError:
            self.fail(
                f"{value!r} is not LO:HI, two finite numbers with LO below HI, such as 0:4095.",
                param,
                ctx,
            )


value_range_option = click.option(
    "--value-range",
    type=ValueRangeType(),
    help="Pixel values shown as black and white in images of more than 8 bits.  "
    "[default: the range of the data type, if the images use all of it]",
)
"""Adds ``value_range: ValueRange | None``, for use with :data:`data_option`."""


def check_model_fits_data(facts: DataFacts | None, summary: ModelSummary) -> None:
    """Raise DataError if the model's input shape differs from the data's, as for video clips."""
    if facts is not None and facts.input_shape != summary.input_shape:
        raise DataError(
            f"--data {facts.name} has inputs of {'x'.join(map(str, facts.input_shape))}, but "
            f"{summary.model} takes {'x'.join(map(str, summary.input_shape))}: choose another MODEL"
        )
