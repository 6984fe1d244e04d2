"""``bamsearch models``: list of torchvision's models."""

from __future__ import annotations

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.errors import NothingToDoError


@options.command("models", examples=["bamsearch models", "bamsearch models mobile"])
@click.argument("part", default="")
@options.json
@options.pass_console
def models(console: Console, part: str, as_json: bool) -> None:
    """List torchvision's models, or those with PART in their name."""
    with console.progress("loading torchvision"):
        from bamsearch.graph.models import model_names

        names = [name for name in model_names() if part.lower() in name]
    if not names:
        raise NothingToDoError(
            f"no torchvision model has {part!r} in its name: 'bamsearch models' lists all; "
            "MODEL can also be timm:NAME, package.module:factory or path/file.py:factory"
        )
    if as_json:
        console.print_json(names)
    else:
        console.print("\n".join(names))
    console.note("\nAlso: timm:NAME, package.module:factory, path/file.py:factory")
    console.finish({"look": f"bamsearch sites {names[0]}"})
