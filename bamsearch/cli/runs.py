"""``bamsearch runs``: the searches that are there."""

from __future__ import annotations

from typing import Any

from bamsearch.cli.console import Console
from bamsearch.cli.options import command, json_option, pass_console
from bamsearch.errors import NothingToDoError, RunError
from bamsearch.records import RunRecord


@command("runs", examples=["bamsearch runs", "bamsearch runs --json"])
@json_option
@pass_console
def runs(console: Console, as_json: bool) -> None:
    """List the runs below runs/: model, budget, best design and state."""
    from bamsearch.searching.folder import all_folders

    found: list[tuple[RunRecord, str]] = []
    with console.progress("reading runs"):
        for folder in all_folders():
            try:
                record = folder.read_record()
            except RunError as error:
                console.warn(str(error))
                continue
            found.append((record, _state(record, busy=folder.busy())))
    if not found:
        raise NothingToDoError("there is no run below runs/ yet: 'bamsearch search' makes one")
    if as_json:
        console.print_json([_json(record, state) for record, state in found])
    else:
        _print(console, found)
    steps = {"read": f"bamsearch report {found[-1][0].run.name}"}
    begun = [record.run.name for record, state in found if state == "interrupted"]
    if begun:
        steps = {"go on": f"bamsearch search --resume {begun[-1]}"} | steps
    console.finish(steps)


def _state(record: RunRecord, *, busy: bool) -> str:
    if busy:
        return "running"
    return "done" if record.finished else "interrupted"


def _json(record: RunRecord, state: str) -> dict[str, Any]:
    from bamsearch.cli.search_json import result_json

    return result_json(record) | {
        "state": state,
        "total": record.run.trials,
        "created": record.run.created,
    }


def _print(console: Console, found: list[tuple[RunRecord, str]]) -> None:
    from bamsearch.report.text import design_text, score_text
    from bamsearch.searching.budget import amount_text

    rows = []
    for record, state in found:
        run, best = record.run, record.best
        limits = [amount_text(b.quantity, b.limit) for b in run.budgets]
        rows.append(
            [
                run.name,
                run.model,
                run.space["name"],
                ", ".join(limits) or "none",
                run.score,
                f"{len(record.trials)}/{run.trials}",
                state,
                "–" if best is None else score_text(best.score),
                "–" if best is None else design_text(best.design),
            ]
        )
    header = ["run", "model", "space", "budget", "score", "trials", "state", "best", "design"]
    console.table(header, rows, "lllllrlrl", indent=0)
