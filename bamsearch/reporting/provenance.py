"""Provenance of a run's numbers, and the commands that reproduce them."""

from __future__ import annotations

import shlex

from bamsearch.records import MEASURED, RunRecord
from bamsearch.reporting.text import budget_text, conditions_text, shape_text
from bamsearch.score.table import DEFAULT_SCORE, SCORES


def provenance(record: RunRecord) -> dict[str, str]:
    """Command, model, data, device and versions of a run: names to texts."""
    run = record.run
    paper = f" ({SCORES[run.score].paper})" if run.score in SCORES else ""
    if run.score in MEASURED:
        weights = "after a short training" if run.trained else "with the weights of one supernet"
        paper = f" (accuracy in percent on the validation images, {weights})"
    facts = {
        "command": run.command or "bamsearch.search(...) from Python",
        "started": run.created,
        "model": f"{run.model}, input {shape_text(run.summary.input_shape)}",
        "BAM": f"variant {run.variant}, init {run.init}",
        "space": f"{run.space.get('name', '')}{' with the stem' if run.with_stem else ''}",
        "budget": "; ".join(budget_text(run, budget) for budget in run.budgets) or "none",
        "score": f"{run.score}{paper}",
        "sampler": f"{run.sampler}, {run.trials} trials",
        "seed": str(run.seed),
        "device": run.device
        + (f", {run.threads} torch threads" if run.device == "cpu" and run.threads != 1 else ""),
    }
    if run.latency is not None:
        facts["timed on"] = conditions_text(run)
    facts["data"] = "none: nothing was trained"
    if run.data is not None:
        sizes = f"{run.data.train:,} to train on, {run.data.validation:,} to validate on"
        facts["data"] = f"{run.data.name}, {sizes}, hash {run.data.hash}"
    if record.shown_evidence is not None:
        facts["data"] = f"{record.shown_evidence.data}, hash {record.shown_evidence.data_hash}"
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    if run.git_commit is not None:
        facts["git commit"] = run.git_commit
    return facts


def reproduce(record: RunRecord, name: str) -> tuple[str, ...]:
    """Commands that reproduce the run and this report.

    Args:
        record: the run.
        name: name or folder of the run.
    """
    run = record.run
    command = run.command
    if run.data is None and run.score != DEFAULT_SCORE and "--score" not in command:
        # The default score was different when the command was typed.
        command += f" --score {run.score}"
    lines = (command,) if command.startswith("bamsearch search") else ()
    return (*lines, f"bamsearch report {shlex.quote(name)}")
