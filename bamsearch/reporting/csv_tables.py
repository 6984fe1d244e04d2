"""Trials, effects and audited designs as CSV files (RFC 4180) that pandas reads back without loss.

Missing values are empty: the score of a failed trial, r and d of a site without BAM.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from bamsearch.records import MEASURED, Audit, Effect, Insertion, ModelSummary, RunRecord, Trial
from bamsearch.reporting.audit import mean_ranks, score_title
from bamsearch.text import csv_file_text

Row = dict[str, Any]


def csv_text(records: Sequence[RunRecord]) -> str:
    """One row per trial, then one per baseline, of one run or several; units are in the header.

    ``rank`` numbers the ranking from 1, ``pareto`` marks the front. With several runs each row
    starts with the run's name and model. If designs are trained, the score is that of one training,
    and the expected accuracy of the design is in columns of its own.
    """
    several = len(records) > 1
    rows = [row for record in records for row in _rows(record, named=several)]
    columns = list(dict.fromkeys(name for record in records for name in _columns(record)))
    if several:
        columns = ["run", "model", *columns]
    return csv_file_text(columns, ([row.get(name) for name in columns] for row in rows))


def _rows(record: RunRecord, *, named: bool) -> list[Row]:
    def key(trial: Trial) -> Hashable:
        """The key of a rank: a trial, or a design with all its trainings."""
        return trial.design if record.run.trained else id(trial)

    ranks = {key(trial): rank for rank, trial in enumerate(record.ranking(), start=1)}
    front = {key(trial) for trial in record.pareto()}
    run = {"run": record.run.name, "model": record.run.model} if named else {}
    return [
        run
        | {"role": role, "rank": ranks.get(key(trial)), "pareto": key(trial) in front}
        | _site_values(trial.design.insertions)
        | _numbers(record, trial)
        for role, trial in _everything(record)
    ]


def _columns(record: RunRecord) -> list[str]:
    """All columns except the run's; two for each site that any design uses."""
    numbers = _numbers(record, Trial(0, record.run.design(()), None, 0, 0))
    designs = (trial.design.insertions for _, trial in _everything(record))
    sites = _site_columns(record.run.summary, designs)
    return ["number", "role", "state", "rank", "pareto", *list(numbers)[2:], *sites]


def _everything(record: RunRecord) -> list[tuple[str, Trial]]:
    trials = [("trial", trial) for trial in record.trials]
    return trials + [(str(kind), trial) for kind, trial in record.baselines]


def _numbers(record: RunRecord, trial: Trial) -> Row:
    score = f"{record.run.score}{', %' if record.run.score in MEASURED else ''}"
    numbers = {
        "number": trial.number,
        "state": trial.state,
        f"score ({score})": trial.score,
        "parameters": trial.params,
        "MACs of one input": trial.macs,
        "GFLOPs (10^9 MACs)": trial.macs / 1e9,
        "training memory (bytes)": trial.memory,
        "predicted latency (ms)": trial.ms,
        "scoring (s)": trial.seconds,
        "retries": trial.retries,
        "reason of failure": trial.reason,
    }
    if not record.run.trained:
        return numbers
    estimate = None if record.analysis is None else record.analysis.of(trial.design.insertions)
    names = {
        "expected accuracy (%)": "mean",
        "expected, low (%)": "low",
        "expected, high (%)": "high",
        "trainings of the design": "trainings",
        "chance to be best (0..1)": "chance",
    }
    expected = {title: getattr(estimate, name, None) for title, name in names.items()}
    return numbers | {"seed": trial.seed} | expected


def effects_csv(effects: Sequence[Effect]) -> str:
    """Effects on accuracy, one per row; sites that vary together are joined by spaces."""
    columns = ("aspect", "sites", "points", "low", "high", "designs", "distinguished from 0")
    return csv_file_text(
        columns,
        (
            (e.aspect, " ".join(e.sites), e.points, e.low, e.high, e.designs, e.distinguished)
            for e in effects
        ),
    )


def audit_csv(audit: Audit) -> str:
    """Insertions, sizes, accuracies and scores, one row per audited design."""
    sites = _site_columns(audit.summary, (design.insertions for design in audit.designs))
    names = dict.fromkeys(name for design in audit.designs for name in design.scores)
    scores = {
        f"score ({name}){score_title(audit, name)}": mean_ranks(audit.designs, name)
        for name in names
    }
    rows: list[Row] = []
    for number, design in enumerate(audit.designs):
        row: Row = {"design": number, "in band": design.in_band}
        row |= {"parameters": design.params, "MACs of one input": design.macs}
        accuracies = {"mean": design.mean} | {
            f"seed {seed}": value
            for seed, value in zip(
                audit.seeds, design.accuracies or (None,) * len(audit.seeds), strict=True
            )
        }
        for name, value in accuracies.items():
            row[f"accuracy (%), {name}"] = None if value is None else round(value, 6)
        row |= {column: values[number] for column, values in scores.items()}
        row |= dict.fromkeys(sites) | _site_values(design.insertions)
        rows.append(row)
    columns = list(rows[0]) if rows else []
    return csv_file_text(columns, (list(row.values()) for row in rows))


def _site_columns(summary: ModelSummary, designs: Iterable[Sequence[Insertion]]) -> list[str]:
    """Columns of r and d for the sites that any of the designs uses."""
    used = {insertion.site for insertions in designs for insertion in insertions}
    sites = [site.name for site in summary.sites if site.name in used]
    return [f"{name} {letter}" for name in sites for letter in ("r", "d")]


def _site_values(insertions: Iterable[Insertion]) -> Row:
    values: Row = {}
    for insertion in insertions:
        values[f"{insertion.site} r"] = insertion.reduction
        values[f"{insertion.site} d"] = insertion.dilation
    return values
