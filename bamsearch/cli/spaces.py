"""``bamsearch spaces``: what a search may try."""

from __future__ import annotations

from bamsearch.cli.console import Console
from bamsearch.cli.options import command, json_option, pass_console
from bamsearch.searching.space import SHIPPED, SpaceFile, shipped_spaces


@command("spaces", examples=["bamsearch spaces", "bamsearch spaces --json"])
@json_option
@pass_console
def spaces(console: Console, as_json: bool) -> None:
    """List the search spaces that come with bamsearch."""
    found = shipped_spaces()
    if as_json:
        console.print_json([space.to_dict() for space in found])
    else:
        rows = [
            [
                space.name + (" (default)" if space.name == SHIPPED[0] else ""),
                _numbers(space.rule.reductions),
                _numbers(space.rule.dilations),
                space.description,
            ]
            for space in found
        ]
        console.table(["space", "r", "d", "what may be tried"], rows, "llll", indent=0)
    console.note("\nYour own is a file: --space FILE.toml; see the README for its keys.")
    console.finish({"try": f"bamsearch search --space {_second(found)} --budget-gflops 8"})


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _second(found: list[SpaceFile]) -> str:
    return found[1].name
