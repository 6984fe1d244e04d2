"""The options ``--data`` and ``--download``: a data set sets the input size and the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bamsearch.data.resolving import resolve as resolve
from bamsearch.errors import DataError
from bamsearch.records import DataFacts

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


def check_fits(facts: DataFacts | None, summary: ModelSummary) -> None:
    """Raise DataError where a model does not take the data's images, but clips."""
    if facts is not None and facts.input_shape != summary.input_shape:
        raise DataError(
            f"--data {facts.name} gives {'x'.join(map(str, facts.input_shape))}, and "
            f"{summary.model} takes {'x'.join(map(str, summary.input_shape))}: choose another MODEL"
        )
