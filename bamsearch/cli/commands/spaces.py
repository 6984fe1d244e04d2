"""``bamsearch spaces``: list of the shipped search spaces."""

from __future__ import annotations

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.space.space import SHIPPED, shipped_spaces


@options.command("spaces", examples=["bamsearch spaces", "bamsearch spaces --json"])
@options.json
@options.pass_console
def spaces(console: Console, as_json: bool) -> None:
    """List the search spaces that come with bamsearch."""
    shipped = shipped_spaces()
    if as_json:
        console.print_json([space.to_dict() for space in shipped])
    else:
        rows = [
            [
                space.name + (" (default)" if space.name == SHIPPED[0] else ""),
                _numbers(space.rule.reductions),
                _numbers(space.rule.dilations),
                space.description,
            ]
            for space in shipped
        ]
        console.table(["space", "r", "d", "description"], rows, "llll", indent=0)
    console.note("\nCustom spaces are files: --space FILE.toml; the README explains the keys.")
    console.finish({"try": f"bamsearch search --space {shipped[1].name} --budget-gflops 8"})


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
