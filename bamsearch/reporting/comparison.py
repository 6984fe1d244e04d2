"""The baselines (base, paper default, largest that fits, best random) and the best design."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from bamsearch.reporting.run_statistics import is_over_budget, random_trials
from bamsearch.reporting.text import change, estimate_text, score_text

LABELS: dict[BaselineKind, str] = {
    "base": "base",
    "paper": "paper default (r16 d4)",
    "largest": "largest that fits",
    "random": "best of {} random",
}

SHORT_LABELS: dict[Role, str] = {
    "base": "base",
    "paper": "paper default",
    "largest": "largest that fits",
    "random": "best random",
    "found": "best design",
}
"""Labels in sentences and charts."""


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


@dataclass(frozen=True, slots=True)
class Differences:
    """Texts for one row against another; empty if there is nothing to compare.

    Attributes:
        params: relative: ``+0.81%``.
        gflops: relative.
        score: absolute, in the score's unit; empty for expected accuracies, because the interval
            of their difference does not follow from their own.
        accuracy: points with their interval, from pairs with the same seed only.
    """

    params: str = ""
    gflops: str = ""
    score: str = ""
    accuracy: str = ""


def comparison(record: RunRecord) -> tuple[Compared, ...]:
    """All rows; the best design is the last."""
    rows: list[tuple[Role, str, Trial | None, str]] = [
        (kind, baseline_label(record, kind), *_baseline(record, kind)) for kind in LABELS
    ]
    note = "" if record.best else "nothing has a score yet"
    rows.append(("found", SHORT_LABELS["found"], record.best, note))
    return tuple(_compared(record, *row) for row in rows)


def trial_of(record: RunRecord, role: Role) -> Trial | None:
    """The best design, or the best scored baseline of a kind; None if there is none yet."""
    return record.best if role == "found" else record.baseline(role)


def baseline_label(record: RunRecord, kind: BaselineKind) -> str:
    """Label of a baseline: ``best of 100 random``."""
    number = len(random_trials(record))
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
    trial = Trial(-1, run.design(insertions), None, cost.params, cost.macs, "failed")
    over = is_over_budget(run, trial)
    return trial, "over the budget: not scored" if over else "not scored"


def _compared(
    record: RunRecord, role: Role, label: str, trial: Trial | None, note: str
) -> Compared:
    row, analysis = Compared(role, label, note=note), record.analysis
    if trial is not None:
        row = replace(
            row,
            design=trial.design,
            params=trial.params,
            macs=trial.macs,
            score=trial.score,
            latency=_latency(record, trial.design),
            expected=None if analysis is None else analysis.of(trial.design.insertions),
        )
    evidence = record.shown_evidence
    # A row may have another design than the one that was trained.
    if evidence is None or (trial and not evidence.is_of(role, trial.design.insertions)):
        return row
    difference = next((paired for paired in evidence.differences if paired.against == role), None)
    return replace(row, accuracy=evidence.accuracies.get(role), difference=difference)


def _latency(record: RunRecord, design: Design) -> Latency | None:
    for finalist in record.finalists:
        base, ms = finalist.base_ms, finalist.ms
        if base is not None and design == finalist.design:
            return Latency(ms / base, finalist.low / base, finalist.high / base, ms)
        if base is not None and not design.insertions:
            return Latency(1.0, 1.0, 1.0, base)
    return None


def differences(row: Compared, other: Compared) -> Differences:
    """Row minus other; all texts are empty if both are the same row."""
    if row.role == other.role:
        return Differences()
    return Differences(
        _relative(row.params, other.params),
        _relative(row.macs, other.macs),
        "" if row.expected or other.expected else _absolute(row.score, other.score),
        _accuracy(row, other),
    )


def _relative(now: int | None, base: int | None) -> str:
    return "" if now is None or base is None else change(base, now)


def _absolute(now: float | None, base: float | None) -> str:
    """The difference with as many decimals as the scores."""
    if now is None or base is None:
        return ""
    shown = score_text(max(abs(now), abs(base)))
    if "e" in shown:
        return f"{now - base:+.4e}"
    decimals = len(shown.partition(".")[2])
    return f"{now - base:+,.{decimals}f}"


def _accuracy(row: Compared, other: Compared) -> str:
    """The difference to or from the best design; no other rows are paired."""
    if row.role == "found" and other.difference is not None:
        difference, sign = other.difference, 1
    elif other.role == "found" and row.difference is not None:
        difference, sign = row.difference, -1
    else:
        return ""
    low, high = sorted((sign * difference.low, sign * difference.high))
    return estimate_text(sign * difference.points, low, high, "+.2f")
