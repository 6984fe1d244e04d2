"""``bamsearch runs``: list of all searches."""

from __future__ import annotations

from typing import Any

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.errors import BamsearchError, NothingToDoError
from bamsearch.records import RunRecord


@options.command("runs", examples=["bamsearch runs", "bamsearch runs --json"])
@options.json
@options.pass_console
def runs(console: Console, as_json: bool) -> None:
    """List the runs below runs/: model, budget, best design and state."""
    from bamsearch.study.folder import all_folders

    formatted = _json if as_json else _row
    records: list[tuple[RunRecord, str]] = []
    items: list[Any] = []
    with console.progress("reading runs"):
        for folder in all_folders():
            try:
                record = folder.read_record()
                state = "done" if record.finished else "interrupted"
                state = "running" if folder.busy() else state
                items.append(formatted(record, state))
            except BamsearchError as error:
                console.warn(str(error))
            except Exception as error:  # a file edited by hand can contain anything
                console.warn(f"{folder.path} cannot be read: {type(error).__name__}: {error}")
            else:
                records.append((record, state))
    if not records:
        raise NothingToDoError("there are no runs below runs/ yet: 'bamsearch search' creates one")
    if as_json:
        console.print_json(items)
    else:
        header = ["run", "model", "space", "budget", "score", "trials", "state", "best", "design"]
        console.table(header, items, "lllllrlrl", indent=0)
    steps = {"read": f"bamsearch report {records[-1][0].run.name}"}
    interrupted = [record.run.name for record, state in records if state == "interrupted"]
    if interrupted:
        steps = {"continue": f"bamsearch search --resume {interrupted[-1]}"} | steps
    console.finish(steps)


def _json(record: RunRecord, state: str) -> dict[str, Any]:
    from bamsearch.cli.text.search import search_result_json

    return search_result_json(record) | {
        "state": state,
        "total": record.run.trials,
        "created": record.run.created,
    }


def _row(record: RunRecord, state: str) -> list[str]:
    from bamsearch.reporting.text import design_text, limits_text, score_text

    run, best = record.run, record.best
    return [
        run.name,
        run.model,
        run.space["name"],
        limits_text(run.budgets) or "none",
        run.score,
        f"{len(record.trials)}/{run.trials}",
        state,
        "–" if best is None else score_text(best.score),
        "–" if best is None else design_text(best.design),
    ]
