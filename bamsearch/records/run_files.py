"""The files of a run, read without Optuna and without torch: see bamsearch/study/folder.py."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bamsearch.errors import RunError
from bamsearch.records.choices import BaselineKind
from bamsearch.records.codec import MOST_LINES_BYTES, Format, parse_json, read_bytes
from bamsearch.records.decoding import at_key, decode
from bamsearch.records.designs import Design, Insertions
from bamsearch.records.encoding import encode
from bamsearch.records.evidence import EVIDENCE
from bamsearch.records.hints import Misfit
from bamsearch.records.runs import RUN, Finalist, Run, RunRecord, Trial
from bamsearch.records.scalars import expected_object
from bamsearch.records.sources import split_model
from bamsearch.records.training_analysis import LEARNED

T = TypeVar("T")
Item = TypeVar("Item", Trial, Finalist)

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
"""All files that may be written in a training folder."""

RUNS, AUDITS = Path("runs"), Path("audits")
"""Folders of all runs and of all audits, relative to the current folder."""


def trial_line(trial: Trial, baseline: BaselineKind | None) -> str:
    """A trial as a line of ``trials.jsonl``."""
    content = {"reference": baseline} | _stored(Trial, trial, trial.design)
    return json.dumps(content, allow_nan=False) + "\n"


def find_run(run: str) -> Path | None:
    """The folder of a run, by its name or path; None if it does not exist."""
    folders = (RUNS / run, Path(run)) if run else ()
    return next((folder for folder in folders if (folder / RUN_FILE).is_file()), None)


def place_of(folder: Path) -> str:
    """A run or an audit as commands take it: its name in its usual folder, otherwise its path."""
    return folder.name if folder.parent in (RUNS, AUDITS) else str(folder)


def read_run(folder: Path) -> Run:
    """The options of a run.

    Raises:
        RunError: there is no run, or it cannot be read or is from a newer bamsearch.
    """
    try:
        run = RUN.read(folder / RUN_FILE)
    except OSError as error:
        raise RunError(f"no run at {folder}: 'bamsearch runs' lists all runs") from error
    if run.started_in is None:
        return run
    home = os.path.normpath(os.path.join(os.path.realpath(folder), run.started_in))
    return replace(_moved(run, home, os.getcwd()), started_in=home)


def run_text(run: Run, folder: Path) -> str:
    """The content of ``run.json`` for a run in a folder, the inverse of :func:`read_run`."""
    here = os.getcwd()
    home = run.started_in or here
    relative = _moved(run, here, os.path.join(here, "any")) != run
    start = os.path.relpath(home, os.path.realpath(folder)) if relative else None
    return replace(_moved(run, here, home), started_in=start).to_json()


def as_recorded(record: RunRecord) -> RunRecord:
    """The record with the names in ``run.json``, the same in every current folder."""
    run = _moved(record.run, os.getcwd(), record.run.started_in or os.getcwd())
    if run == record.run:
        return record

    def renamed(item: Item) -> Item:
        return replace(item, design=replace(item.design, model=run.model))

    return replace(
        record,
        run=run,
        trials=tuple(map(renamed, record.trials)),
        baselines=tuple((kind, renamed(trial)) for kind, trial in record.baselines),
        finalists=tuple(map(renamed, record.finalists)),
    )


def _moved(run: Run, start: str, end: str) -> Run:
    """The run with the existing files of model, score and data relative to another folder."""

    def moved(path: str) -> str:
        file = os.path.join(start, path)
        move = start != end and not os.path.isabs(path) and os.path.exists(file)
        return os.path.relpath(file, end) if move else path

    def code(name: str) -> str:
        source, function = split_model(name)
        return f"{moved(source)}:{function}" if source.endswith(".py") else name

    data = run.data
    if data is not None and ":" in data.name:
        kind, _, folder = data.name.partition(":")
        data = replace(data, name=f"{kind}:{moved(folder)}")
    summary = replace(run.summary, model=code(run.model))
    return replace(run, summary=summary, score=code(run.score), data=data)


def read_lines(path: Path) -> bytes:
    """Content of a file of lines; empty if the file does not exist.

    Raises:
        RunError: it is larger than :data:`~bamsearch.records.codec.MOST_LINES_BYTES`.
    """
    with _LINES.refusing(str(path)):
        return read_bytes(path, MOST_LINES_BYTES) if path.exists() else b""


def readable_lines(content: bytes) -> list[bytes]:
    """The complete lines of ``trials.jsonl``; a power cut can corrupt the last ones."""
    whole = []
    for line in content.splitlines(keepends=True):
        try:
            # Numbers as text: too many digits are an error, not the result of a power cut.
            item = json.loads(line.decode(), parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            break
        if not line.endswith(b"\n") or not isinstance(item, dict):
            break
        whole.append(line)
    return whole


def read_record(folder: Path) -> RunRecord:
    """A run with the trials written so far.

    Raises:
        RunError: as :func:`read_run`, or a line of ``trials.jsonl`` is not a trial.
    """
    run = read_run(folder)
    path = folder / TRIALS_FILE
    trials: dict[tuple[BaselineKind | None, int], Trial] = {}
    file = read_lines(path)
    lines = readable_lines(file)
    spoiled = file[len(b"".join(lines)) :]
    if readable_lines(spoiled.partition(b"\n")[2]):
        raise RunError(
            f"{path}, line {len(lines) + 1} is not a trial: "
            f"'bamsearch search --resume {run.name}' repairs it"
        )
    for number, line in enumerate(lines, start=1):
        with TRIAL.refusing(f"{path}, line {number}"):
            content = dict(expected_object(parse_json(line)))
            if "reference" not in content:
                raise Misfit("has no key 'reference'")
            baseline = content.pop("reference")
            kind = at_key("reference", lambda x: decode(BaselineKind | None, x), baseline)
            trial: Trial = decode(Trial, _with_design(content, run))
        # Older versions wrote a line again after an interruption.
        trials.setdefault((kind, trial.number), trial)
    return RunRecord(
        run,
        tuple(trial for (kind, _), trial in trials.items() if kind is None),
        tuple((kind, trial) for (kind, _), trial in trials.items() if kind is not None),
        read_finalists(folder, run),
        _read(EVIDENCE, folder / EVIDENCE_FILE),
        _read(LEARNED, folder / LEARNED_FILE),
    )


def read_finalists(folder: Path, run: Run) -> tuple[Finalist, ...]:
    """The timed designs; empty without ``finalists.json``."""
    items = _read(_FINALISTS, folder / FINALISTS_FILE) or ()
    with _FINALISTS.refusing(str(folder / FINALISTS_FILE)):
        finalists: tuple[Finalist, ...] = decode(
            tuple[Finalist, ...], [_with_design(item, run) for item in items]
        )
    return finalists


def finalists_text(finalists: Sequence[Finalist]) -> str:
    """The content of ``finalists.json``."""
    return _FINALISTS.text([_stored(Finalist, finalist, finalist.design) for finalist in finalists])


def _read(format: Format[T], path: Path) -> T | None:
    return format.read(path) if path.exists() else None


def _stored(kind: type, value: Any, design: Design) -> dict[str, Any]:
    """A dataclass as JSON, storing only the insertions of its design."""
    return {**encode(kind, value), "design": encode(Insertions, design.insertions)}


def _with_design(content: dict[str, Any], run: Run) -> dict[str, Any]:
    """The inverse of :func:`_stored` for a design of the run."""
    if "design" not in content:
        return content
    rows = content["design"]
    return content | {"design": at_key("design", lambda x: run.design(decode(Insertions, x)), rows)}


_LINES: Format[Any] = Format(Any, "file of lines", RunError, "move it away")
TRIAL: Format[Trial] = Format(Trial, "trial", RunError, "fix or remove that line")
_FINALISTS: Format[list[dict[str, Any]]] = Format(
    list[dict[str, Any]], "list of finalists", RunError, "move it away"
)
