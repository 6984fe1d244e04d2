"""The baselines (base, paper default, largest that fits, best random) and the best design."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.errors import NoSiteError
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import (
    Accuracy,
    AccuracyEstimate,
    BaselineKind,
    Design,
    Difference,
    Role,
    RunRecord,
    Trial,
)

LABELS: dict[BaselineKind, str] = {
    "base": "base",
    "paper": "paper default (r16 d4)",
    "largest": "largest that fits",
    "random": "best of {} random",
}


@dataclass(frozen=True, slots=True)
class Latency:
    """A design's latency, paired with the base's.

    Attributes:
        ratio: latency over that of the base; 1 for the base.
        low: lower end of its 95% interval.
        high: upper end.
        ms: latency in milliseconds.
    """

    ratio: float
    low: float
    high: float
    ms: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of the comparison.

    Attributes:
        role: baseline, or the best design.
        label: role in words.
        design: None if there is none yet, such as before a random search.
        params: exact number of parameters; None without a design.
        macs: fvcore's total for one input; None without a design.
        score: None without one.
        note: reason for a missing design or score; empty otherwise.
        latency: None if not measured.
        accuracy: None if not trained.
        difference: best design minus this design; None if one of them was not trained.
        expected: estimate behind the score ``train``.
    """

    role: Role
    label: str
    design: Design | None = None
    params: int | None = None
    macs: int | None = None
    score: float | None = None
    note: str = ""
    latency: Latency | None = None
    accuracy: Accuracy | None = None
    difference: Difference | None = None
    expected: AccuracyEstimate | None = None


def comparison(record: RunRecord) -> tuple[Compared, ...]:
    """All rows; the best design is the last."""
    rows: list[tuple[Role, str, Trial | None, str]] = [
        (kind, baseline_label(record, kind), *_baseline(record, kind)) for kind in LABELS
    ]
    note = "" if record.best else "nothing has a score yet"
    rows.append(("found", "best design", record.best, note))
    return tuple(_compared(record, *row) for row in rows)


def baseline_label(record: RunRecord, kind: BaselineKind) -> str:
    """Label of a baseline: ``best of 100 random``."""
    number = sum(baseline == "random" for baseline, _ in record.baselines)
    return LABELS[kind].format(number) if number else LABELS[kind].replace("of {} ", "")


def _baseline(record: RunRecord, kind: BaselineKind) -> tuple[Trial | None, str]:
    """The baseline, and why it has no score; its cost is known in any case."""
    trial = record.baseline(kind)
    if trial is not None:
        return trial, ""
    run = record.run
    if kind == "random":
        return None, "not scored yet" if run.compare_random else "left out with --no-random"
    failed = next((t for k, t in record.baselines if k == kind), None)
    if failed is not None:
        return failed, f"failed: {failed.reason}"
    if kind == "largest":
        return None, "not scored yet"
    try:
        insertions = plan_insertions(run.summary.sites) if kind == "paper" else ()
    except NoSiteError:
        return None, "the model lacks the paper's sites"
    cost = DesignCosts(run.summary, variant=run.variant, init=run.init).cost(insertions)
    taken = {"gflops": cost.macs, "params": cost.params}
    over = not all(b.admits(taken.get(b.quantity, 0)) for b in run.budgets)
    note = "over the budget: not scored" if over else "not scored"
    return Trial(-1, run.design(insertions), None, cost.params, cost.macs, "failed"), note


def _compared(
    record: RunRecord, role: Role, label: str, trial: Trial | None, note: str
) -> Compared:
    accuracy, difference = _trained(record, role, trial)
    if trial is None:
        return Compared(role, label, note=note, accuracy=accuracy, difference=difference)
    return Compared(
        role,
        label,
        trial.design,
        trial.params,
        trial.macs,
        trial.score,
        note,
        _latency(record, trial.design),
        accuracy,
        difference,
        None if record.analysis is None else record.analysis.of(trial.design.insertions),
    )


def _trained(
    record: RunRecord, role: Role, trial: Trial | None
) -> tuple[Accuracy | None, Difference | None]:
    """Accuracy and difference of the row; None if the row now has another design than trained."""
    evidence = record.shown_evidence
    if evidence is None:
        return None, None
    if trial is not None and not evidence.is_of(role, trial.design.insertions):
        return None, None
    difference = next((paired for paired in evidence.differences if paired.against == role), None)
    return evidence.accuracies.get(role), difference


def _latency(record: RunRecord, design: Design) -> Latency | None:
    for finalist in record.finalists:
        base = finalist.base_ms
        if base is not None and design == finalist.design:
            return Latency(
                finalist.ms / base, finalist.low / base, finalist.high / base, finalist.ms
            )
        if base is not None and not design.insertions:
            return Latency(1.0, 1.0, 1.0, base)
    return None
