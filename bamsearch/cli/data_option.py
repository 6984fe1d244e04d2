"""The options ``--data`` and ``--download``: a data set sets the input size and the classes."""

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
    help="Data that sets input size and classes: digits, or KIND:DIR, such as imagefolder:DIR.",
)
"""Adds ``data: str | None``, to be given to :func:`bamsearch.data.resolving.resolve` or
:func:`bamsearch.data.loading.load_data`."""

download_option = click.option(
    "--download", is_flag=True, help="Fetch --data where it is not there."
)
"""Adds ``download: bool``."""


class ValueRangeType(click.ParamType[ValueRange]):
    """``LO:HI``, two finite numbers."""

    name = "value range"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "LO:HI"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ValueRange:
        """Return (lo, hi), or fail as click does."""
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
    help="Values that become black and white in images of more than 8 bits.  "
    "[default: the range of their type, if they fill it]",
)
"""Adds ``value_range: ValueRange | None``, to go with :data:`data_option`."""


def check_fits(facts: DataFacts | None, summary: ModelSummary) -> None:
    """Raise DataError where a model does not take the data's images, but clips."""
    if facts is not None and facts.input_shape != summary.input_shape:
        raise DataError(
            f"--data {facts.name} gives {'x'.join(map(str, facts.input_shape))}, and "
            f"{summary.model} takes {'x'.join(map(str, summary.input_shape))}: choose another MODEL"
        )
