"""The files of a run, read without Optuna and without torch: see bamsearch/study/folder.py."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.arguments import BaselineKind
from bamsearch.records.codec import decode, decode_at, encode, expected_object
from bamsearch.records.designs import Insertions
from bamsearch.records.evidence import Evidence
from bamsearch.records.formats import MOST_LINES_BYTES, Format, parse_json, read_bytes
from bamsearch.records.hints import Misfit
from bamsearch.records.runs import Finalist, Run, RunRecord, Trial
from bamsearch.records.sources import split_model
from bamsearch.records.training_analysis import TrainingAnalysis

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
    content = {"reference": baseline} | _stored(trial)
    return json.dumps(content, allow_nan=False) + "\n"


def find_run(run: str) -> Path | None:
    """The folder of a run, by its name or path; None if it does not exist."""
    return find_named(run, RUNS, RUN_FILE)


def find_named(name: str, parent: Path, file: str) -> Path | None:
    """The folder with this file, by its name in the parent or by its path; None if missing."""
    folders = (parent / name, Path(name)) if name else ()
    return next((folder for folder in folders if (folder / file).is_file()), None)


def place_of(folder: Path) -> str:
    """A run or an audit as commands take it: its name in its usual folder, otherwise its path."""
    return folder.name if folder.parent in (RUNS, AUDITS) else str(folder)


def read_run(folder: Path) -> Run:
    """The options of a run.

    Raises:
        RunError: there is no run, or it cannot be read or is from a newer bamsearch.
    """
    try:
        run = Run.read(folder / RUN_FILE)
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


def read_lines(path: Path, noun: str, remedy: str) -> list[bytes]:
    """The complete lines of a file of JSON objects; none if the file does not exist.

    Args:
        path: the file; a power cut can corrupt its last lines, which are left out.
        noun: name of a line's content, for errors.
        remedy: next step for the user, for errors.

    Raises:
        RunError: a line is corrupt, and complete lines follow it; or the file is larger than
            :data:`~bamsearch.records.formats.MOST_LINES_BYTES`.
    """
    with _LINES.refusing(str(path)):
        content = read_bytes(path, MOST_LINES_BYTES) if path.exists() else b""
    lines = readable_lines(content)
    rest = content[sum(map(len, lines)) :]
    if readable_lines(rest.partition(b"\n")[2]):
        raise RunError(f"{path}, line {len(lines) + 1} is not a {noun}: {remedy}")
    return lines


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
    lines = read_lines(path, "trial", f"'bamsearch search --resume {run.name}' repairs it")
    for number, line in enumerate(lines, start=1):
        with TRIAL.refusing(f"{path}, line {number}"):
            content = dict(expected_object(parse_json(line)))
            if "reference" not in content:
                raise Misfit("has no key 'reference'")
            kind = decode_at("reference", BaselineKind | None, content.pop("reference"))
            trial: Trial = decode(Trial, _with_design(content, run))
        # Older versions wrote a line again after an interruption.
        trials.setdefault((kind, trial.number), trial)
    return RunRecord(
        run,
        tuple(trial for (kind, _), trial in trials.items() if kind is None),
        tuple((kind, trial) for (kind, _), trial in trials.items() if kind is not None),
        read_finalists(folder, run),
        _read(Evidence.FORMAT, folder / EVIDENCE_FILE),
        _read(TrainingAnalysis.FORMAT, folder / LEARNED_FILE),
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
    return _FINALISTS.text(list(map(_stored, finalists)))


def _read(format: Format[T], path: Path) -> T | None:
    return format.read(path) if path.exists() else None


def _stored(value: Trial | Finalist) -> dict[str, Any]:
    """A record as JSON, storing only the insertions of its design."""
    return {**encode(type(value), value), "design": encode(Insertions, value.design.insertions)}


def _with_design(content: dict[str, Any], run: Run) -> dict[str, Any]:
    """The inverse of :func:`_stored` for a design of the run."""
    if "design" not in content:
        return content
    insertions = decode_at("design", Insertions, content["design"])
    try:
        return content | {"design": run.design(insertions)}
    except InvalidValueError as error:
        raise Misfit(str(error), "design", is_value=False) from error


_LINES: Format[Any] = Format(Any, "file of lines", RunError, "move it away")
TRIAL: Format[Trial] = Format(Trial, "trial", RunError, "fix or remove that line")
_FINALISTS: Format[list[dict[str, Any]]] = Format(
    list[dict[str, Any]], "list of finalists", RunError, "move it away"
)
