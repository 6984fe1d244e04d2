"""Readers of a run's folder: alone, for its report, and to resume it."""

import shutil
from dataclasses import replace
from pathlib import Path

from bamsearch.records.run_files import (
    EVIDENCE_FILE,
    FINALISTS_FILE,
    LEARNED_FILE,
    RUN_FILE,
    TRIALS_FILE,
    finalists_text,
    read_record,
    read_run,
)
from bamsearch.records.runs import Finalist
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunDocument, RunsDocument
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_text import network_text
from bamsearch.study.request import plan_of_run

from .reader import RUNS, Reader, in_place_of


def run_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    for name in ("trained", "old"):
        ignored = shutil.ignore_patterns("report", "best")
        shutil.copytree(RUNS[name], folder / name, ignore=ignored)
    trained = folder / "trained"
    whole = {
        RUN_FILE: _runs(),
        FINALISTS_FILE: (_finalists(),),
        **{
            name: ((trained / name).read_bytes(),)
            for name in (TRIALS_FILE, LEARNED_FILE, EVIDENCE_FILE)
        },
    }
    result: dict[str, Reader] = {}
    for name, contents in whole.items():
        path = trained / name
        read = in_place_of(path, lambda: read_record(trained))
        result[f"record: {name}"] = Reader(contents, read, name != RUN_FILE)
        result[f"report: {name}"] = Reader(
            contents, in_place_of(path, lambda: report(trained)), True
        )
    old = folder / "old"
    resume = in_place_of(old / RUN_FILE, lambda: plan_of_run(read_run(old)))
    return result | {"resume: run.json": Reader(((old / RUN_FILE).read_bytes(),), resume, True)}


def report(folder: Path) -> object:
    """All that ``bamsearch report`` prints and writes, but the pictures beside Markdown."""
    record = read_record(folder)
    run_report = make_report(record, "one")
    texts = [network_text(found_picture(record)), RunsDocument([run_report]).text("csv")]
    return texts + [
        RunDocument(run_report).text(format) for format in ("json", "csv", "md", "html")
    ]


def _runs() -> tuple[bytes, ...]:
    """Each ``run.json`` at hand, the first with predicted times."""
    facts = {"device": "cpu", "batch_size": 1, "dtype": "float32", "mode": "eager", "threads": 1}
    times = facts | {"samples": 3, "base_ms": 12.5, "worst_error": 0.02, "r2": None}
    run = read_run(RUNS["trained"])
    timed = replace(run, latency=times, added={("layer1", "r4 d1"): (5, 7_000)})
    return (
        timed.to_json().encode(),
        *((format / RUN_FILE).read_bytes() for format in RUNS.values()),
    )


def _finalists() -> bytes:
    ranking = read_record(RUNS["trained"]).ranking()
    timed = [Finalist(estimate.design, 1.0, 0.9, 1.1, True, 0.5) for estimate in ranking[:3]]
    return finalists_text(timed).encode()
