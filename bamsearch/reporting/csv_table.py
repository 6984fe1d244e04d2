"""All trials as rows of a CSV file (RFC 4180) that pandas reads back without loss."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from bamsearch.records import MEASURED, Effect, RunRecord, Trial
from bamsearch.text import csv_file_text

Row = dict[str, Any]


def csv_text(records: Sequence[RunRecord]) -> str:
    """One row per trial, then one per baseline, of one run or several; units are in the header.

    Missing values are empty: the score of a failed trial, r and d of a site without BAM. ``rank``
    numbers the ranking from 1, ``pareto`` marks the front. With several runs each row starts with
    the run's name and model. If designs are trained, the score is that of one training, and the
    expected accuracy of the design is in columns of its own.
    """
    rows = [row for record in records for row in _rows(record, named=len(records) > 1)]
    columns = list(dict.fromkeys(name for record in records for name in _columns(record)))
    if len(records) > 1:
        columns = ["run", "model", *columns]
    return csv_file_text(columns, ([row.get(name) for name in columns] for row in rows))


def _rows(record: RunRecord, *, named: bool) -> list[Row]:
    ranks = {_key(record, trial): rank for rank, trial in enumerate(record.ranking(), start=1)}
    front = {_key(record, trial) for trial in record.pareto()}
    run = {"run": record.run.name, "model": record.run.model} if named else {}
    rows = []
    for role, trial in _everything(record):
        key = _key(record, trial)
        row = run | {"role": role, "rank": ranks.get(key), "pareto": key in front}
        for insertion in trial.design.insertions:
            row |= {
                f"{insertion.site} r": insertion.reduction,
                f"{insertion.site} d": insertion.dilation,
            }
        rows.append(row | _numbers(record, trial))
    return rows


def _key(record: RunRecord, trial: Trial) -> Hashable:
    """The key of a rank: a trial, or a design with all its trainings."""
    return trial.design if record.run.score == "train" else id(trial)


def _columns(record: RunRecord) -> list[str]:
    """All columns except the run's; two for each site that any design uses."""
    used = {
        insertion.site for _, trial in _everything(record) for insertion in trial.design.insertions
    }
    sites = [site.name for site in record.run.summary.sites if site.name in used]
    empty = Trial(0, record.run.design(()), None, 0, 0)
    numbers = list(_numbers(record, empty))
    site_columns = [f"{name} {letter}" for name in sites for letter in ("r", "d")]
    return ["number", "role", "state", "rank", "pareto", *numbers[2:], *site_columns]


def _numbers(record: RunRecord, trial: Trial) -> Row:
    trained = record.run.score == "train"
    numbers = {
        "number": trial.number,
        "state": trial.state,
        f"score ({record.run.score}{', %' if record.run.score in MEASURED else ''})": trial.score,
        "parameters": trial.params,
        "MACs of one input": trial.macs,
        "GFLOPs (10^9 MACs)": trial.macs / 1e9,
        "training memory (bytes)": trial.memory,
        "predicted latency (ms)": trial.ms,
        "scoring (s)": trial.seconds,
        "retries": trial.retries,
        "reason of failure": trial.reason,
    }
    return numbers | (_expected(record, trial) if trained else {})


def _expected(record: RunRecord, trial: Trial) -> Row:
    estimate = None if record.analysis is None else record.analysis.of(trial.design.insertions)
    values = ("mean", "low", "high", "trainings", "chance")
    mean, low, high, trainings, chance = (getattr(estimate, name, None) for name in values)
    return {
        "seed": trial.seed,
        "expected accuracy (%)": mean,
        "expected, low (%)": low,
        "expected, high (%)": high,
        "trainings of the design": trainings,
        "chance to be best (0..1)": chance,
    }


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


def _everything(record: RunRecord) -> list[tuple[str, Trial]]:
    trials = [("trial", trial) for trial in record.trials]
    return trials + [(str(kind), trial) for kind, trial in record.baselines]
