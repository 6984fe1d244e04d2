"""The option ``--supernet KEY=VALUE``: how a supernet is trained and scored."""

from __future__ import annotations

import click

from bamsearch.errors import InvalidValueError
from bamsearch.score.supernet.options import NAMES, SupernetOptions, parse_options


def _parsed(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> SupernetOptions | None:
    try:
        return parse_options(texts) if texts else None
    except InvalidValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


supernet_option = click.option(
    "--supernet",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_parsed,
    help=f"How score supernet is trained and asked; repeatable. KEY: {', '.join(NAMES)}.",
)
"""Adds ``supernet: SupernetOptions | None``."""
