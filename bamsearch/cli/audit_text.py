"""What ``bamsearch audit`` says: what it is about to train, and what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.records import Audit
from bamsearch.report.text import count_text, duration_text, shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.evidence.audit.estimate import AuditEstimate
    from bamsearch.evidence.audit.request import Planned
    from bamsearch.report.writing import Format


def print_plan(console: Console, planned: Planned, known: AuditEstimate, jobs: int) -> None:
    """The sample, how many trainings; stderr has the time."""
    from bamsearch.report.audit_content import make_audit_report
    from bamsearch.report.audit_draws import seeds_text

    audit, recipe, facts = planned.audit, planned.recipe, planned.audit.data
    made = make_audit_report(audit, audit.name)
    console.print(made.title)
    console.print(
        f"{facts.name} · {shape_text(facts.input_shape)} · {facts.train:,} images to train, "
        f"{facts.validation:,} to validate · hash {facts.hash}"
    )
    console.print(
        f"recipe {recipe.name}: {count_text(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, "
        f"lr {recipe.lr:g} · random weights · seeds {audit.seeds[0]} to {audit.seeds[-1]}"
    )
    console.print(f"scores {', '.join(audit.scores)} · score seeds {seeds_text(audit)}")
    console.print(made.sample)
    if known.done == known.trainings:
        console.note(f"\nall {known.trainings} trainings are done\n")
        return
    done = f", {known.done} of {known.trainings} trainings are done" if known.done else ""
    how = "in one process" if jobs == 1 else f"in {jobs} processes, if none slows another down"
    console.note(f"\nabout {duration_text(known.seconds / jobs)} to train {how}{done}\n")


def plan_json(planned: Planned, known: AuditEstimate) -> dict[str, Any]:
    """What ``audit --dry-run --json`` prints."""
    audit = planned.audit
    return {
        "audit": audit.name,
        "model": audit.model,
        "recipe": dict(audit.recipe),
        "seeds": list(audit.seeds),
        "designs": json.loads(audit.to_json())["designs"],
        "scores": list(audit.scores),
        "score_seeds": audit.score_seeds,
        "trainings": known.trainings,
        "done": known.done,
        "seconds_in_one_process": round(known.seconds, 1),
    }


def print_audit(console: Console, audit: Audit, place: str) -> None:
    """The answer, and the tables that it rests on."""
    from bamsearch.report.audit_content import MEASURES, make_audit_report

    made = make_audit_report(audit, place)
    console.print(printable(made.headline))
    for line in made.remarks:
        console.print(f"  {printable(line)}")
    if not audit.finished:
        return
    console.print(f"\n{MEASURES['tau']} with trained accuracy, and its 95 % interval")
    tau = made.agreements["tau"]
    console.table(tau.header, tau.rows, tau.align)
    for line in wrap(made.intervals, 90):
        console.print(f"  {line}")
    for line in made.reasons:
        console.print(f"  {printable(line)}")
    console.print("\nwhat noise leaves to find")
    console.table(made.noise.header, made.noise.rows, made.noise.align)
    if made.effects.rows:
        console.print("\nwhat BAM does")
        console.table(made.effects.header, made.effects.rows, made.effects.align)


def result_json(audit: Audit, place: str) -> dict[str, Any]:
    """What ``audit --json`` prints: the answer, and ``audit.json``."""
    from bamsearch.report.audit_content import make_audit_report
    from bamsearch.report.audit_writing import audit_json

    return audit_json(make_audit_report(audit, place))


def report_audit(
    console: Console,
    folder: Path,
    formats: Sequence[Format],
    output: Path | None,
    *,
    stdout: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """What ``bamsearch report AUDIT`` does.

    Args:
        console: where words go.
        folder: of the audit.
        formats: what to write.
        output: another folder to write to.
        stdout: print the one format instead.
        as_json: print the result as JSON.
        dry_run: write nothing.
    """
    from bamsearch.records.audit_files import read_audit
    from bamsearch.report.audit_content import make_audit_report
    from bamsearch.report.audit_writing import (
        AUDIT_FILES,
        audit_place,
        audit_text,
        write_audit_report,
    )

    audit, place = read_audit(folder), audit_place(folder)
    if stdout:
        console.print_exactly(audit_text(make_audit_report(audit, place), formats[0]))
        return
    target = output or folder
    written = [target / AUDIT_FILES[one] for one in AUDIT_FILES if one in formats]
    if not dry_run:
        with console.progress("making the report"):
            written = write_audit_report(audit, target, formats, place)
    if as_json:
        console.print_json(result_json(audit, place))
    else:
        print_audit(console, audit, place)
    steps = {} if audit.finished or not audit.command else {"go on": audit.command}
    console.finish(steps, written, dry_run=dry_run)
