"""Text output of ``bamsearch search`` and ``bamsearch report``: results and evidence."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Any

from rich.cells import cell_len, set_cell_size

from bamsearch.cli.console import Console
from bamsearch.records import Design, Run, RunRecord, Trial
from bamsearch.records.run_files import place_of
from bamsearch.reporting import tables, text
from bamsearch.reporting.answer import Answer, verify_line
from bamsearch.reporting.as_json import trial_json
from bamsearch.reporting.comparison import LABELS, baseline_label
from bamsearch.reporting.content import Report
from bamsearch.reporting.run_statistics import health, size_correlation
from bamsearch.reporting.training_effects import TrainingEffects
from bamsearch.text import json_count, number_text, printable

_SHOWN = 5
_EFFECTS = 12
_EXPECTED = ("expected, %", "95%", "trainings", "best")
# With more or longer sites, a design is listed as text instead of in one column per site.
_COLUMNS = 6
_WIDEST = 120


def print_result(console: Console, report: Report) -> None:
    """Print the best designs, the baselines and the evidence."""
    record, run = report.record, report.record.run
    console.print(f"{text.title(run)} · score {printable(run.score)} · seed {run.seed}")
    console.print(_counts(record))
    if report.state:
        console.print(report.state)
    console.print()
    rows = _ranking_rows(record)
    if not rows:
        console.print("  no design has a score yet")
        return
    design = _Designs(record)
    scored = _EXPECTED if report.trained else ("score",)
    header = ["rank", design.header, *scored, "GFLOPs", "params"]
    numbers = "r" * (len(scored) + 2)
    if design.wide:
        console.table(header, rows, f"rl{numbers}")
    else:  # long designs go into the last column
        moved = [[row[0], *row[2:], row[1]] for row in [header, *rows]]
        console.table(moved[0], moved[1:], f"r{numbers}l")
    _print_finalists(console, record, design)
    console.print()
    for line in _evidence_lines(report.answer):
        console.print(printable(line))
    first, *other_axes = tables.axis_names(report)
    console.print(
        f"Pareto    {text.count_text(len(report.front), 'design')}, "
        f"{first} against {', '.join(other_axes)}"
    )
    if report.training_effects is not None:
        _print_effects(console, report, report.training_effects)


def _print_effects(console: Console, report: Report, training_effects: TrainingEffects) -> None:
    console.print(f"\nEFFECTS   {training_effects.sentence}")
    for remark in training_effects.analysis.remarks:
        console.print(f"          {printable(remark)}")
    if training_effects.effects:
        table = tables.effects_table(report).shortened(_EFFECTS)
        console.table(table.header, table.rows, table.align)
    for line in wrap(tables.effects_legend(report), 90):
        console.print(f"          {line}")


def _evidence_lines(answer: Answer) -> list[str]:
    """The evidence behind the scores, or the result of training."""
    first, *remarks = answer.remarks
    if answer.verdict == "unknown":
        first = f"none: {first[:1].lower()}{first[1:]}"
    else:
        first, remarks = answer.headline, list(answer.remarks)
    return [f"EVIDENCE  {first}", *(f"          {line}" for line in remarks)]


class _Designs:
    """Designs as cells of one column, with one field per site if there are few sites."""

    def __init__(self, record: RunRecord) -> None:
        trials = [*record.ranking()[:_SHOWN], *(t for _, t in record.baselines)]
        used = {i.site for trial in trials for i in trial.design.insertions}
        sites = [site.name for site in record.run.summary.sites if site.name in used]
        self._titles = {name: printable(name) for name in sites}
        self._width = {name: max(cell_len(site), 6) for name, site in self._titles.items()}
        self.wide = len(sites) <= _COLUMNS and sum(self._width.values()) <= _WIDEST

    @property
    def header(self) -> str:
        if not self.wide:
            return "design"
        return "  ".join(
            set_cell_size(site, self._width[name]) for name, site in self._titles.items()
        )

    def cell(self, design: Design) -> str:
        if not self.wide:
            return text.design_text(design)
        by_site = {i.site: i for i in design.insertions}
        return "  ".join(
            text.option_text(by_site.get(name)).ljust(self._width[name]) for name in self._titles
        )


def _counts(record: RunRecord) -> str:
    run = record.run
    fit = f"{number_text(run.feasible_designs)} of {number_text(run.designs)} designs fit"
    counts = health(record)
    early = f" · {counts.stopped} stopped early" if run.score == "train" else ""
    about = "exact" if run.exact else "estimate"
    wrong = f"{counts.over_budget} over budget · {counts.failed} failed"
    return f"{fit} ({about}) · {counts.scored:,} scored · {wrong}{early}"


def _ranking_rows(record: RunRecord) -> list[list[str]]:
    design = _Designs(record)
    ranking = record.ranking()
    rows = [
        [str(rank), design.cell(trial.design), *_numbers(record, trial)]
        for rank, trial in enumerate(ranking[:_SHOWN], start=1)
    ]
    baselines = [
        ["", baseline_label(record, kind), *_numbers(record, trial_of_kind)]
        for kind in LABELS
        if (trial_of_kind := record.baseline(kind)) is not None
    ]
    if baselines:
        rows += [["", "baselines", *[""] * (len(baselines[0]) - 2)], *baselines]
    return rows


def _numbers(record: RunRecord, trial: Trial) -> list[str]:
    scored = [text.score_text(trial.score)]
    if record.run.score == "train":
        analysis, insertions = record.analysis, trial.design.insertions
        estimate = None if analysis is None else analysis.of(insertions)
        scored = [f"{trial.score:.2f}", *tables.estimate_cells(estimate)[1:]]
    return [*scored, text.giga(trial.macs), text.mega(trial.params)]


def _print_finalists(console: Console, record: RunRecord, design: _Designs) -> None:
    if not record.finalists:
        return
    run = record.run
    limit = next(b for b in run.budgets if b.quantity == "ms")
    console.print(
        f"\n  latency measured against the base on {text.conditions_text(run)}, "
        f"budget {text.budget_text(run, limit)}"
    )
    rows = [
        [
            design.cell(finalist.design),
            f"{finalist.ms:.3f} ms",
            f"[{finalist.low:.3f}, {finalist.high:.3f}]",
            "within budget" if finalist.kept else "over budget: removed from the ranking",
        ]
        for finalist in record.finalists
    ]
    console.table([design.header, "measured", "95%", ""], rows, "lrrl")


def search_next_steps(record: RunRecord, folder: Path) -> dict[str, str]:
    """Useful commands after a search."""
    run = record.run
    name = shlex.quote(place_of(folder))
    steps = {}
    if record.best is not None:
        steps["use"] = f'model = bamsearch.load("{folder}")'
        model = shlex.quote(run.model)
        steps["time"] = f"bamsearch profile {model} {shlex.quote(str(folder))}"
        if record.best.design.insertions:
            steps["prove"] = verify_line(record, place_of(folder))
    if run.until is not None and record.finished and len(record.trials) < run.trials:
        steps["continue"] = f"bamsearch search --resume {name} --until {run.until / 2:g}"
    elif run.repeats or len(record.trials) < run.feasible_designs - 1:
        more = run.trials if len(record.trials) < run.trials else 2 * run.trials
        steps["continue"] = f"bamsearch search --resume {name} --trials {more}"
    return steps


def search_result_json(record: RunRecord) -> dict[str, Any]:
    """The output of ``search --json``; the README explains its keys."""
    run, best, counts = record.run, record.best, health(record)
    return {
        "run": run.name,
        "model": run.model,
        "budget": result_budgets(run),
        "designs": json_count(run.designs),
        "feasible_designs": json_count(run.feasible_designs),
        "exact": run.exact,
        "score": run.score,
        "trials": counts.scored,
        "failed": counts.failed,
        "stopped": counts.stopped,
        "infeasible_scored": counts.over_budget,
        "best": None if best is None else trial_json(best),
        "references": {
            kind: trial_json(trial_of_kind)
            for kind in LABELS
            if (trial_of_kind := record.baseline(kind)) is not None
        },
        "pareto": [trial_json(trial) for trial in record.pareto()],
        "size_correlation": asdict(size_correlation(record)),
    }


def result_budgets(run: Run) -> dict[str, int]:
    """Budgets as JSON, in multiply-adds, parameters, bytes and nanoseconds."""
    return {budget.quantity: budget.limit for budget in run.budgets}
