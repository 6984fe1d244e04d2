"""Where a run's numbers come from, and how to get them again."""

from __future__ import annotations

import shlex

from bamsearch.records import MEASURED, RunRecord
from bamsearch.report.text import budget_text, conditions_text, shape_text
from bamsearch.score.table import DEFAULT_SCORE, SCORES


def provenance(record: RunRecord) -> dict[str, str]:
    """What was run, on what, with which versions: names to texts."""
    run = record.run
    paper = f" ({SCORES[run.score].paper})" if run.score in SCORES else ""
    if run.score in MEASURED:
        how = "after a short training" if run.trained else "of one supernet's weights"
        paper = f" (accuracy on the validation images {how}, in per cent)"
    found = {
        "command": run.command or "bamsearch.search(...) from Python",
        "started": run.created,
        "model": f"{run.model}, input {shape_text(run.summary.input_shape)}",
        "BAM": f"variant {run.variant}, init {run.init}",
        "space": f"{run.space.get('name', '')}{' with the stem' if run.with_stem else ''}",
        "budget": "; ".join(budget_text(run, one) for one in run.budgets) or "none",
        "score": f"{run.score}{paper}",
        "sampler": f"{run.sampler}, {run.trials} trials",
        "seed": str(run.seed),
        "device": run.device
        + (f", {run.threads} torch threads" if run.device == "cpu" and run.threads != 1 else ""),
    }
    if run.latency is not None:
        found["timed on"] = conditions_text(run)
    found["data"] = "none: nothing was trained"
    if run.data is not None:
        sizes = f"{run.data.train:,} to train on, {run.data.validation:,} to validate on"
        found["data"] = f"{run.data.name}, {sizes}, hash {run.data.hash}"
    if record.shown_evidence is not None:
        found["data"] = f"{record.shown_evidence.data}, hash {record.shown_evidence.data_hash}"
    found["versions"] = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    if run.git_commit is not None:
        found["git commit"] = run.git_commit
    return found


def reproduce(record: RunRecord, place: str) -> tuple[str, ...]:
    """What to type to get the run and this report again, a line each.

    Args:
        record: the run.
        place: its name or folder, as commands take it.
    """
    run = record.run
    command = run.command
    if run.data is None and run.score != DEFAULT_SCORE and "--score" not in command:
        # The default was another when it was typed.
        command += f" --score {run.score}"
    lines = (command,) if command.startswith("bamsearch search") else ()
    return (*lines, f"bamsearch report {shlex.quote(place)}")
