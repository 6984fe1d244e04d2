"""Every trial as a row of a CSV file (RFC 4180), read back by pandas without loss."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from bamsearch.records import MEASURED, Effect, RunRecord, Trial
from bamsearch.text import csv_file_text

Row = dict[str, Any]


def csv_text(records: Sequence[RunRecord]) -> str:
    """The trials, then the references, of one run or several; a row each, units in the header.

    Empty cells are what there is not: the score of a trial that failed, r and d of a site without
    BAM. ``rank`` numbers the ranking from 1, ``pareto`` marks the front. Of several runs each row
    starts with the run's name and its model. Where designs are trained, the score is of that
    training alone, and what is expected of its design stands beside it.
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
    found = []
    for role, trial in _everything(record):
        key = _key(record, trial)
        row = run | {"role": role, "rank": ranks.get(key), "pareto": key in front}
        for one in trial.design.insertions:
            row |= {f"{one.site} r": one.reduction, f"{one.site} d": one.dilation}
        found.append(row | _numbers(record, trial))
    return found


def _key(record: RunRecord, trial: Trial) -> Hashable:
    """What has a rank: a trial, or a design with all its trainings."""
    return trial.design if record.run.score == "train" else id(trial)


def _columns(record: RunRecord) -> list[str]:
    """All columns but the run's; two for each site that any design uses."""
    used = {one.site for _, trial in _everything(record) for one in trial.design.insertions}
    sites = [site.name for site in record.run.summary.sites if site.name in used]
    empty = Trial(0, record.run.design(()), None, 0, 0)
    numbers = list(_numbers(record, empty))
    own = [f"{name} {what}" for name in sites for what in ("r", "d")]
    return ["number", "role", "state", "rank", "pareto", *numbers[2:], *own]


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
    found = None if record.learned is None else record.learned.of(trial.design.insertions)
    values = ("mean", "low", "high", "trainings", "chance")
    mean, low, high, trainings, chance = (getattr(found, name, None) for name in values)
    return {
        "seed": trial.seed,
        "expected accuracy (%)": mean,
        "expected, low (%)": low,
        "expected, high (%)": high,
        "trainings of the design": trainings,
        "chance to be best (0..1)": chance,
    }


def effects_csv(effects: Sequence[Effect]) -> str:
    """Effects on accuracy, a row each; sites that go together are joined by spaces."""
    columns = ("aspect", "sites", "points", "low", "high", "designs", "distinguished from 0")
    return csv_file_text(
        columns,
        (
            (e.aspect, " ".join(e.sites), e.points, e.low, e.high, e.designs, e.distinguished)
            for e in effects
        ),
    )


def _everything(record: RunRecord) -> list[tuple[str, Trial]]:
    own = [("trial", trial) for trial in record.trials]
    return own + [(str(kind), trial) for kind, trial in record.references]
