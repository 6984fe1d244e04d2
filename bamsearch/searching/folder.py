"""A run's folder: what was asked for, the study, a line a trial, the best design, a log.

::

    runs/NAME/
      run.json          what was asked for: see bamsearch/records/runs.py
      study.db          the Optuna study, where the database is no other
      trials.jsonl      a line for each finished trial
      finalists.json    designs timed under a budget of time
      learned.json      what its trainings say: see bamsearch/records/learned.py
      evidence.json     what training has shown: see bamsearch/records/evidence.py
      train/, verify/   those trainings, a folder each
      best/design.json  the best one so far, as insert, profile and export take it
      log.txt           what happened, with date and time
      lock              held by the search at work

Whatever is written is on the disk when the call returns, and a file is there whole or not at all;
of ``trials.jsonl`` a last line may be cut off, and is then written again from the study.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from bamsearch.errors import InvalidValueError, OutputError, RunError
from bamsearch.records import (
    Budget,
    Design,
    Evidence,
    Learned,
    ReferenceKind,
    Run,
    RunRecord,
    Trial,
)
from bamsearch.records.disk import (
    DRAFT,
    refuse_links,
    remove_drafts,
    remove_files,
    sync_folder,
    whole_file,
)
from bamsearch.records.run_files import (
    EVIDENCE_FILE,
    FINALISTS_FILE,
    LEARNED_FILE,
    RUN_FILE,
    RUNS,
    TRAINING_FILES,
    TRIALS_FILE,
    finalists_text,
    find_run,
    read_record,
    read_run,
    readable_lines,
    trial_line,
)
from bamsearch.records.runs import Finalist
from bamsearch.text import printable

STUDY_FILE = "study.db"
LOG_FILE = "log.txt"
LOCK_FILE = "lock"
STARTED = "searching with"
ENDED = "all trials are finished"
REPORTED = "the report is written"
"""What the log says of a search: at its start, at its end where no trial is left, and then."""
_MOST_RUNS = 10_000
# Seconds: whoever only looks whether a run is locked has it for a moment.
_LOOKED_AT = 0.5
# Seconds after which a folder without a run is not that of a search which is about to start.
_ABANDONED = 60.0
_GO_ON = "; mend that, and go on with --resume"
_STUDY_FILES = tuple(f"{STUDY_FILE}{end}" for end in ("", "-wal", "-shm", "-journal"))
_REPORT_FILES = (
    *("report.md", "report.html", "report.json", "trials.csv", "effects.csv"),
    *("network.svg", "pareto.svg", "curve.svg", "ranking.svg", "effects.svg"),
)
_TRAIN_FILES = tuple(f"train/*/{name}" for name in TRAINING_FILES)
_FILES = (
    *(RUN_FILE, *_STUDY_FILES, TRIALS_FILE, FINALISTS_FILE, LEARNED_FILE, EVIDENCE_FILE, LOG_FILE),
    "best/design.json",
    *(f"report/{name}" for name in _REPORT_FILES),
    *_TRAIN_FILES,
    *(f"verify/*/{name}" for name in TRAINING_FILES),
    *(f"supernet/{name}" for name in TRAINING_FILES),
)
_NAMES = (LOCK_FILE, *dict.fromkeys(name.partition("/")[0] for name in _FILES))


class RunFolder:
    """A run's folder.

    Args:
        path: the folder; its name is the run's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.absolute().name

    @property
    def study(self) -> Path:
        """The file of the study."""
        return self.path / STUDY_FILE

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: it is there already, or cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
            sync_folder(self.path.parent)
        except FileExistsError as error:
            if not self.path.exists():
                what = "a folder above it is a file"
                raise OutputError(f"{self.path} cannot be made: {what}") from error
            raise OutputError(
                f"{self.path} exists already: go on with --resume {self.name}, "
                "or choose another --name"
            ) from error
        except OSError as error:
            raise OutputError(f"{self.path} cannot be made: {error.strerror}") from error

    @property
    def unbegun(self) -> bool:
        """Whether the folder is there, and has nothing but what a kill left at the very start."""
        if not self.path.is_dir():
            return False
        names = (path.name for path in self.path.iterdir())
        return all(name in (LOCK_FILE, *_STUDY_FILES) or name.startswith(DRAFT) for name in names)

    def remove_abandoned(self) -> None:
        """Remove the folder if a kill left it at the very start, a while ago."""
        with suppress(OSError, RunError):
            if self.unbegun and time.time() - self.path.stat().st_mtime > _ABANDONED:
                self.remove_unbegun()

    def remove_unbegun(self) -> None:
        """Remove the folder if nothing was begun in it and no process is at work.

        Raises:
            RunError: one is.
        """
        if self.unbegun:
            with self.locked():
                shutil.rmtree(self.path)

    @property
    def ended(self) -> bool:
        """Whether the last search here left no trial and no training, and wrote its report."""
        path = self.path / LOG_FILE
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        last = text[max(text.rfind(STARTED), 0) :]
        trainings = any(True for name in _TRAIN_FILES for _ in self.path.glob(name))
        return ENDED in last and REPORTED in last and not trainings

    def clear(self) -> None:
        """Remove what a search, its trainings and its report wrote here; other files stay.

        Raises:
            RunError: another process holds the run.
            OutputError: a file cannot be removed, or the folder has links.
        """
        with self.locked():
            try:
                remove_files(self.path, _FILES)
            except OSError as error:
                reason = f"{error.filename} cannot be removed: {error.strerror}"
                raise OutputError(f"{reason}; choose another --name") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run while the block works on it; the lock goes with the process.

        Raises:
            RunError: another process holds it.
            OutputError: something that is written here is a link.
        """
        refuse_links(self.path, _NAMES)
        lock = FileLock(self.path / LOCK_FILE, timeout=_LOOKED_AT)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"another search works on run {self.name}: wait for it, "
                "or start one of your own with another --name"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def busy(self) -> bool:
        """Whether a search is at work here; False where that cannot be seen, as in others' runs."""
        try:
            with self.locked():
                return False
        except RunError:
            return True
        except PermissionError:
            return False

    def write_run(self, run: Run) -> None:
        """Write ``run.json``."""
        self._write(RUN_FILE, run.to_json())

    def read_run(self) -> Run:
        """Read ``run.json``, see :func:`bamsearch.records.run_files.read_run`."""
        return read_run(self.path)

    def read_record(self) -> RunRecord:
        """Read the run and its trials, see :func:`bamsearch.records.run_files.read_record`."""
        return read_record(self.path)

    def append(self, trials: Sequence[tuple[ReferenceKind | None, Trial]]) -> None:
        """Add finished trials to ``trials.jsonl``."""
        if not trials:
            return
        text = "".join(trial_line(trial, kind) for kind, trial in trials)
        path = self.path / TRIALS_FILE
        new = not path.exists()
        with open(path, "ab") as file:
            whole = file.tell()
            try:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                # As of a full disk: half of it would spoil the line that is written next.
                with suppress(OSError):
                    os.truncate(path, whole)
                raise OutputError(f"{path} cannot be written: {error.strerror}{_GO_ON}") from error
        if new:
            sync_folder(self.path)

    def mend(self) -> None:
        """Remove what was being written when the power went; the study has it all."""
        remove_drafts(self.path)
        path = self.path / TRIALS_FILE
        if not path.exists():
            return
        content = path.read_bytes()
        whole = len(b"".join(readable_lines(content)))
        if whole < len(content):
            os.truncate(path, whole)

    def remove_trainings(self) -> None:
        """Remove the checkpoints of trainings, once none is needed any more."""
        with suppress(OSError):
            remove_files(self.path, _TRAIN_FILES)

    def write_best(self, design: Design) -> None:
        """Write ``best/design.json``, unless it is that design already."""
        path = self.path / "best" / "design.json"
        text = design.to_json()
        if not path.exists() or path.read_bytes() != text.encode():
            path.parent.mkdir(exist_ok=True)
            self._write("best/design.json", text)

    def write_finalists(self, finalists: Sequence[Finalist]) -> None:
        """Write ``finalists.json``."""
        self._write(FINALISTS_FILE, finalists_text(finalists))

    def write_evidence(self, evidence: Evidence) -> None:
        """Write ``evidence.json``."""
        self._write(EVIDENCE_FILE, evidence.to_json())

    def write_learned(self, learned: Learned) -> None:
        """Write ``learned.json``."""
        self._write(LEARNED_FILE, learned.to_json())

    def log(self, text: str) -> None:
        """Add a line with date and time (UTC) to the log."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with open(self.path / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(f"{now} {printable(text)}\n")

    def _write(self, name: str, text: str) -> None:
        target = self.path / name
        try:
            with whole_file(target) as file:
                file.write(text.encode())
        except OSError as error:
            raise OutputError(f"{target} cannot be written: {error.strerror}{_GO_ON}") from error


def new_folder(model: str, budgets: Sequence[Budget], parent: Path = RUNS) -> RunFolder:
    """A folder for a run without a name, made: ``runs/MODEL-BUDGET-NNN``, the first that is free.

    Raises:
        OutputError: it cannot be made.
    """
    words = [_word(model.rpartition(":")[2]), *(_budget_word(budget) for budget in budgets)]
    stem = "-".join(words if budgets else [*words, "free"])
    for number in range(1, _MOST_RUNS):
        folder = RunFolder(parent / f"{stem}-{number:03d}")
        folder.remove_abandoned()
        if not folder.path.exists():
            try:
                folder.create()
                return folder
            except OutputError:
                # Another search may have just taken the name.
                if not folder.path.exists():
                    raise
    raise OutputError(f"{parent} has {_MOST_RUNS} runs called {stem}: choose a --name")


def named_folder(name: str, parent: Path = RUNS) -> RunFolder:
    """The folder of a run by its name.

    Raises:
        InvalidValueError: a name that is no plain word.
    """
    check_name("a run", name)
    return RunFolder(parent / name)


def check_name(what: str, name: str) -> None:
    """Raise InvalidValueError for a name that is no plain word.

    Args:
        what: is called so, such as ``a run``.
        name: that was typed.
    """
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise InvalidValueError(
            f"{what} cannot be called {name!r}: letters, digits and . _ + - only; "
            "another place is given with -o DIR"
        )


def find_folder(run: str) -> RunFolder:
    """The folder of a run that is there, by its name or its path.

    Raises:
        RunError: there is none.
    """
    path = find_run(run)
    if path is not None:
        return RunFolder(path)
    raise RunError(f"no run is called {run!r}: 'bamsearch runs' lists those that are there")


def all_folders(parent: Path = RUNS) -> list[RunFolder]:
    """The folders of all runs, oldest first."""
    found = []
    for path in parent.glob("*/"):
        # Another user's folder may not be entered.
        with suppress(PermissionError):
            file = path / RUN_FILE
            if file.is_file():
                found.append((file.stat().st_mtime, path))
    return [RunFolder(path) for _, path in sorted(found)]


def _budget_word(budget: Budget) -> str:
    if budget.text.endswith("%"):
        percent = _word(f"{budget.text.rstrip('%')}pct")
        return percent if budget.quantity == "gflops" else f"{percent}-{budget.quantity}"
    unit = {"gflops": "g", "ms": "ms"}.get(budget.quantity, "")
    return _word(f"{budget.text}{unit}")


def _word(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.+").lower() or "model"
