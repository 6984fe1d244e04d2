"""The options that say which designs there are, and which of them fit: of search and audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--budget-gflops", metavar="N", help="10^9 multiply-adds: 8, or +2% on the base."),
    click.option("--budget-params", metavar="N", help="Parameters: 45M, or +2%."),
    click.option("--budget-memory", metavar="N", help="Kept in a training step: 200MiB, or +2%."),
    click.option("--budget-ms", metavar="N", help="Milliseconds on --device: 12, or +2%."),
    click.option(
        "--space",
        default="stages",
        show_default=True,
        metavar="NAME|FILE",
        help="What may be tried: 'bamsearch spaces' lists them.",
    ),
    click.option("--with-stem", is_flag=True, help="Add the stem to the space."),
)

init_option = click.option(
    "--init",
    type=click.Choice(["paper", "identity"]),
    default="paper",
    show_default=True,
    help="How BAM starts.",
)
"""Adds ``init: Init``."""


def space_options(function: F) -> F:
    """Adds ``budget_gflops``, ``…_params``, ``…_memory``, ``…_ms``, ``space`` and ``with_stem``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
