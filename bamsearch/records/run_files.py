"""The files of a run, read without Optuna and without torch: see bamsearch/searching/folder.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bamsearch.errors import RunError
from bamsearch.records.choices import ReferenceKind
from bamsearch.records.designs import Insertion
from bamsearch.records.evidence import Evidence
from bamsearch.records.learned import Learned
from bamsearch.records.runs import Finalist, Run, RunRecord, Trial

RUN_FILE = "run.json"
TRIALS_FILE = "trials.jsonl"
FINALISTS_FILE = "finalists.json"
EVIDENCE_FILE = "evidence.json"
LEARNED_FILE = "learned.json"

TRAINING_FILES = (
    *("train.json", "design.json", "checkpoint.pt", "metrics.csv", "model.safetensors"),
    *("test.json", "tensorboard/events.out.tfevents.*", ".lock"),
    # Drafts of older versions.
    *(".train.json", ".checkpoint.pt", ".metrics.csv", ".model.safetensors", ".test.json"),
)
"""All that may be written in the folder of a training."""

RUNS = Path("runs")
"""Where runs are, below the current folder."""


def trial_line(trial: Trial, reference: ReferenceKind | None) -> str:
    """A trial as a line of ``trials.jsonl``."""
    content = asdict(trial)
    content["design"] = [[i.site, i.reduction, i.dilation] for i in trial.design.insertions]
    return json.dumps({"reference": reference} | content, allow_nan=False) + "\n"


def find_run(run: str) -> Path | None:
    """The folder of a run by its name or its path; None if there is none."""
    places = (RUNS / run, Path(run)) if run else ()
    return next((place for place in places if (place / RUN_FILE).is_file()), None)


def read_run(folder: Path) -> Run:
    """What a run was asked for.

    Raises:
        RunError: no run there, not readable, or from a newer bamsearch.
    """
    path = folder / RUN_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"no run at {folder}: 'bamsearch runs' lists those that are there"
        ) from error
    return Run.from_json(text, str(path))


def readable_lines(content: bytes) -> list[bytes]:
    """The lines of ``trials.jsonl`` as far as they are whole; a power cut can spoil the last ones.

    Args:
        content: of the file.
    """
    whole = []
    for line in content.splitlines(keepends=True):
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not line.endswith(b"\n") or not isinstance(item, dict):
            break
        whole.append(line)
    return whole


def read_record(folder: Path) -> RunRecord:
    """A run with its trials, as far as they were written.

    Raises:
        RunError: as :func:`read_run`, or a line of ``trials.jsonl`` that is no trial.
    """
    run = read_run(folder)
    path = folder / TRIALS_FILE
    found: dict[tuple[ReferenceKind | None, int], Trial] = {}
    file = path.read_bytes() if path.exists() else b""
    lines = readable_lines(file)
    spoiled = file[len(b"".join(lines)) :]
    if readable_lines(spoiled.partition(b"\n")[2]):
        raise RunError(
            f"{path}, line {len(lines) + 1} is no trial: "
            f"'bamsearch search --resume {run.name}' mends it"
        )
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            kind = content.pop("reference")
            content["design"] = run.design([Insertion(*one) for one in content["design"]])
            content["curve"] = tuple(content.get("curve", ()))
            trial = Trial(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}, line {number} is no trial: {error}") from error
        # Older versions wrote a line again after an interruption.
        found.setdefault((kind, trial.number), trial)
    return RunRecord(
        run,
        tuple(trial for (kind, _), trial in found.items() if kind is None),
        tuple((kind, trial) for (kind, _), trial in found.items() if kind is not None),
        read_finalists(folder, run),
        _read_evidence(folder),
        _read_learned(folder),
    )


def _read_evidence(folder: Path) -> Evidence | None:
    path = folder / EVIDENCE_FILE
    if not path.exists():
        return None
    return Evidence.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))


def _read_learned(folder: Path) -> Learned | None:
    path = folder / LEARNED_FILE
    if not path.exists():
        return None
    return Learned.from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))


def read_finalists(folder: Path, run: Run) -> tuple[Finalist, ...]:
    """The designs that were timed; none if there is no such file."""
    path = folder / FINALISTS_FILE
    if not path.exists():
        return ()
    try:
        return tuple(
            Finalist(run.design([Insertion(*one) for one in item.pop("design")]), **item)
            for item in json.loads(path.read_text(encoding="utf-8"))
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} does not list finalists: {error}") from error


def finalists_text(finalists: Sequence[Finalist]) -> str:
    """The content of ``finalists.json``."""
    items = []
    for one in finalists:
        sites = [[i.site, i.reduction, i.dilation] for i in one.design.insertions]
        items.append(asdict(replace(one)) | {"design": sites})
    return json.dumps(items, indent=2) + "\n"
