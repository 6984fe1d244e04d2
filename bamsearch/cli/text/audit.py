"""Text and JSON output of ``bamsearch audit``: the plan and the results."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.reporting.text import count_text, duration_text, shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.evidence.audit.request import AuditPlan
    from bamsearch.evidence.audit.trainings import AuditEstimate
    from bamsearch.reporting.audit import AuditReport


def print_audit_plan(console: Console, planned: AuditPlan, estimate: AuditEstimate) -> None:
    """Print the sample and the number of trainings; the estimated time goes to stderr."""
    from bamsearch.reporting.audit import AuditReport, seeds_text

    jobs = planned.request.jobs
    audit, recipe, facts = planned.audit, planned.recipe, planned.audit.data
    report = AuditReport(audit, audit.name)
    console.print(report.title)
    console.print(
        f"{facts.name} · {shape_text(facts.input_shape)} · {facts.train:,} images to train, "
        f"{facts.validation:,} to validate · hash {facts.hash}"
    )
    console.print(
        f"recipe {recipe.name}: {count_text(recipe.epochs, 'epoch')}, batch {recipe.batch_size}, "
        f"lr {recipe.lr:g} · random weights · seeds {audit.seeds[0]} to {audit.seeds[-1]}"
    )
    console.print(f"scores {', '.join(audit.scores)} · score seeds {seeds_text(audit)}")
    console.print(report.sample)
    if estimate.done == estimate.trainings:
        console.note(f"\nall {estimate.trainings} trainings are done\n")
        return
    done = f", {estimate.done} of {estimate.trainings} trainings done" if estimate.done else ""
    processes = "in one process" if jobs == 1 else f"in {jobs} processes, if they do not compete"
    console.note(
        f"\nabout {duration_text(estimate.seconds / jobs)} of training {processes}{done}\n"
    )


def audit_plan_json(planned: AuditPlan, estimate: AuditEstimate) -> dict[str, Any]:
    """The output of ``audit --dry-run --json``."""
    audit = planned.audit
    return {
        "audit": audit.name,
        "model": audit.model,
        "recipe": dict(audit.recipe),
        "seeds": list(audit.seeds),
        "designs": json.loads(audit.to_json())["designs"],
        "scores": list(audit.scores),
        "score_seeds": audit.score_seeds,
        "trainings": estimate.trainings,
        "done": estimate.done,
        "seconds_in_one_process": round(estimate.seconds, 1),
    }


def print_audit(console: Console, report: AuditReport) -> None:
    """Print the answer, and the tables behind it."""
    from bamsearch.reporting.audit import MEASURE_NAMES

    console.print(printable(report.headline))
    for line in report.audit.remarks:
        console.print(f"  {printable(line)}")
    if not report.audit.finished:
        return
    console.print(f"\n{MEASURE_NAMES['tau']} with trained accuracy, and its 95% interval")
    tau = report.agreements["tau"]
    console.table(tau.header, tau.rows, tau.align)
    for line in wrap(report.intervals, 90):
        console.print(f"  {line}")
    for line in report.reasons:
        console.print(f"  {printable(line)}")
    console.print("\nnoise ceiling")
    console.table(report.noise.header, report.noise.rows, report.noise.align)
    if report.effects.rows:
        console.print("\neffects of BAM")
        console.table(report.effects.header, report.effects.rows, report.effects.align)
