"""Options of search and audit that define the search space and the budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from bamsearch.records import Quantity

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--budget-gflops",
        metavar="N",
        help="Budget in GFLOPs (10^9 multiply-adds): 8, or +2% over the base.",
    ),
    click.option("--budget-params", metavar="N", help="Parameter budget: 45M, or +2%."),
    click.option(
        "--budget-memory",
        metavar="N",
        help="Budget of activation memory kept for backward in one training step: 200MiB, or +2%.",
    ),
    click.option(
        "--budget-ms", metavar="N", help="Latency budget on --device, in milliseconds: 12, or +2%."
    ),
    click.option(
        "--space",
        default="stages",
        show_default=True,
        metavar="NAME|FILE",
        help="Search space; see 'bamsearch spaces'.",
    ),
    click.option("--with-stem", is_flag=True, help="Add the stem to the search space."),
)


def take_budgets(options: dict[str, Any]) -> dict[Quantity, str]:
    """Remove the budgets from the options of a command; return the given ones, as typed."""
    texts = {quantity: options.pop(f"budget_{quantity}") for quantity in get_args(Quantity)}
    return {quantity: text for quantity, text in texts.items() if text is not None}


search_init_option = click.option(
    "--init",
    type=click.Choice(["paper", "identity"]),
    default="paper",
    show_default=True,
    help="Initialisation of BAM.",
)
"""Adds ``init: Init``."""


def space_options(function: F) -> F:
    """Add ``budget_gflops``, ``…_params``, ``…_memory``, ``…_ms``, ``space`` and ``with_stem``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
