"""The folder of a run.

::

    runs/NAME/
      run.json          options of the search: see bamsearch/records/runs.py
      study.db          Optuna study, unless another database is used
      trials.jsonl      finished trials, one per line
      finalists.json    designs timed under a latency budget
      learned.json      analysis of the trainings: see bamsearch/records/training_analysis.py
      evidence.json     results of verify: see bamsearch/records/evidence.py
      train/, verify/   checkpoints, one folder per training
      best/design.json  best design so far, as insert, profile and export take it
      log.txt           log with date and time (UTC)
      lock              held while a search is running

Every write is on disk when the call returns, and files are replaced atomically. The last line of
``trials.jsonl`` may be cut off by a crash; it is then written again from the study.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bamsearch import files
from bamsearch.errors import InvalidValueError, OutputError, RunError
from bamsearch.records import (
    BaselineKind,
    Budget,
    Design,
    Evidence,
    Run,
    RunRecord,
    TrainingAnalysis,
    Trial,
    run_files,
)
from bamsearch.records.run_files import RUN_FILE, RUNS, TRIALS_FILE
from bamsearch.records.runs import Finalist
from bamsearch.text import printable

STUDY_FILE = "study.db"
LOG_FILE = "log.txt"
LOCK_FILE = "lock"
STARTED = "searching with"
ENDED = "all trials are finished"
REPORTED = "the report is written"
"""Log lines of a search: at its start, when all trials are finished, and after its report."""
_MOST_RUNS = 10_000
_RESUME_HINT = "fix this, then continue with `resume`"
_STUDY_FILES = tuple(f"{STUDY_FILE}{end}" for end in ("", "-wal", "-shm", "-journal"))
_REPORT_FILES = (
    *("report.md", "report.html", "report.json", "trials.csv", "effects.csv"),
    *("network.svg", "pareto.svg", "curve.svg", "ranking.svg", "effects.svg"),
)
_TRAIN_FILES = tuple(f"train/*/{name}" for name in run_files.TRAINING_FILES)
_FILES = (
    *(
        *_STUDY_FILES,
        TRIALS_FILE,
        run_files.FINALISTS_FILE,
        run_files.LEARNED_FILE,
        run_files.EVIDENCE_FILE,
        LOG_FILE,
    ),
    "best/design.json",
    *(f"report/{name}" for name in _REPORT_FILES),
    *_TRAIN_FILES,
    *(f"verify/*/{name}" for name in run_files.TRAINING_FILES),
    *(f"supernet/{name}" for name in run_files.TRAINING_FILES),
)
_NAMES = (LOCK_FILE, RUN_FILE, *dict.fromkeys(name.partition("/")[0] for name in _FILES))


class RunFolder:
    """The folder of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.absolute().name

    @property
    def study(self) -> Path:
        """The SQLite file of the study."""
        return self.path / STUDY_FILE

    @property
    def is_run(self) -> bool:
        """Whether the folder exists and holds a run."""
        return (self.path / RUN_FILE).is_file()

    def check_new(self, *, force: bool) -> None:
        """Check that a run can be created here, with ``force`` in place of an earlier run.

        Raises:
            OutputError: the folder has a run or other files, or cannot be written.
        """
        if self.is_run and not force:
            raise OutputError(
                f"{self.path} is a run already: continue with `resume={self.name}`, choose another "
                "name, or add `force` to start it again"
            )
        files.check_output_folder(
            self.path, force=self.is_run, advice="it is not a run, so choose another path"
        )

    def create(self, run: Run) -> None:
        """Create the folder with its ``run.json``, both at once.

        Raises:
            OutputError: it has files already, or cannot be created.
        """
        try:
            with files.whole_folder(self.path) as draft:
                text = run_files.run_text(run, self.path)
                (draft / RUN_FILE).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            if self.path.is_dir() and any(self.path.iterdir()):
                raise OutputError(
                    f"{self.path} already exists: continue with `resume={self.name}`, "
                    "or choose another `name`"
                ) from error
            raise OutputError(f"{self.path} cannot be created: {error.strerror}") from error

    @property
    def ended(self) -> bool:
        """Whether the last search here finished all trials and trainings, and wrote its report."""
        path = self.path / LOG_FILE
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        last = text[max(text.rfind(STARTED), 0) :]
        trainings = any(True for name in _TRAIN_FILES for _ in self.path.glob(name))
        return ENDED in last and REPORTED in last and not trainings

    def restart(self, run: Run) -> None:
        """Start another run here: files of the earlier one are removed, other files stay.

        Raises:
            RunError: another process holds the lock.
            OutputError: a file cannot be removed, or the folder contains links.
        """
        with self.locked():
            try:
                files.remove_files(self.path, _FILES)
            except OSError as error:
                reason = f"{error.filename} cannot be removed: {error.strerror}"
                raise OutputError(f"{reason}; choose another `name`") from error
            self.write_run(run)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the run for a block; the system releases it when the process dies.

        Raises:
            RunError: another process holds it.
            OutputError: a file that would be written is a link.
        """
        busy = RunError(
            f"another search is running on run {self.name}: wait for it, "
            "or start a new one with another `name`"
        )
        with files.locked(self.path, LOCK_FILE, _NAMES, busy):
            yield

    def busy(self) -> bool:
        """Whether a search is running here; False if the lock of another user cannot be read."""
        try:
            with self.locked():
                return False
        except RunError:
            return True
        except OutputError as error:
            if isinstance(error.__cause__, PermissionError):
                return False
            raise

    def write_run(self, run: Run) -> None:
        """Write ``run.json``."""
        self._write(RUN_FILE, run_files.run_text(run, self.path))

    def read_run(self) -> Run:
        """Read ``run.json``, see :func:`bamsearch.records.run_files.read_run`."""
        return run_files.read_run(self.path)

    def read_record(self) -> RunRecord:
        """Read the run and its trials, see :func:`bamsearch.records.run_files.read_record`."""
        return run_files.read_record(self.path)

    def append(self, trials: Sequence[tuple[BaselineKind | None, Trial]]) -> None:
        """Add finished trials to ``trials.jsonl``."""
        if not trials:
            return
        text = "".join(run_files.trial_line(trial, kind) for kind, trial in trials)
        path = self.path / TRIALS_FILE
        with files.written(path, _RESUME_HINT):
            files.append(path, text)

    def repair(self) -> None:
        """Remove files and lines that a crash left incomplete; the study has their content."""
        files.remove_drafts(self.path)
        path = self.path / TRIALS_FILE
        if not path.exists():
            return
        content = path.read_bytes()
        whole = len(b"".join(run_files.readable_lines(content)))
        if whole < len(content):
            os.truncate(path, whole)

    def remove_trainings(self) -> None:
        """Remove the checkpoints of trainings, after the last trial."""
        with suppress(OSError):
            files.remove_files(self.path, _TRAIN_FILES)

    def write_best(self, design: Design) -> None:
        """Write ``best/design.json``, unless it is up to date."""
        path = self.path / "best" / "design.json"
        # Files are relative to the same folder as in run.json.
        text = replace(design, model=Run.read(self.path / RUN_FILE).model).to_json()
        if not path.exists() or path.read_bytes() != text.encode():
            path.parent.mkdir(exist_ok=True)
            self._write("best/design.json", text)

    def write_finalists(self, finalists: Sequence[Finalist]) -> None:
        """Write ``finalists.json``."""
        self._write(run_files.FINALISTS_FILE, run_files.finalists_text(finalists))

    def write_evidence(self, evidence: Evidence) -> None:
        """Write ``evidence.json``."""
        self._write(run_files.EVIDENCE_FILE, evidence.to_json())

    def write_analysis(self, analysis: TrainingAnalysis) -> None:
        """Write ``learned.json``."""
        self._write(run_files.LEARNED_FILE, analysis.to_json())

    def log(self, text: str) -> None:
        """Add a line with date and time (UTC) to the log."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with open(self.path / LOG_FILE, "a", encoding="utf-8") as file:
            file.write(f"{now} {printable(text)}\n")

    def _write(self, name: str, text: str) -> None:
        files.write_whole(self.path / name, text.encode(), _RESUME_HINT)


def new_folder(run: Run, parent: Path = RUNS) -> RunFolder:
    """Create the folder of an unnamed run: the first free ``runs/MODEL-BUDGET-NNN``.

    Raises:
        OutputError: it cannot be created.
    """
    words = [_word(run.model.rpartition(":")[2]), *(_budget_word(budget) for budget in run.budgets)]
    stem = "-".join(words if run.budgets else [*words, "free"])
    for number in range(1, _MOST_RUNS):
        folder = RunFolder(parent / f"{stem}-{number:03d}")
        if not folder.path.exists():
            try:
                folder.create(replace(run, name=folder.name))
                return folder
            except OutputError:
                # Another search may have just taken the name.
                if not folder.path.exists():
                    raise
    raise OutputError(f"{parent} has {_MOST_RUNS} runs called {stem}: choose another `name`")


def named_run_folder(name: str, parent: Path = RUNS) -> RunFolder:
    """The folder of a run by its name.

    Raises:
        InvalidValueError: see :func:`check_name`.
    """
    check_name("a run", name)
    return RunFolder(parent / name)


def check_name(kind: str, name: str) -> None:
    """Raise InvalidValueError if a name has other characters than letters, digits and . _ + -."""
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise InvalidValueError(
            f"{kind} cannot be called {name!r}: use only letters, digits and . _ + -; "
            "choose another folder with -o DIR"
        )


def find_folder(run: str) -> RunFolder:
    """The folder of an existing run, by its name or its path.

    Raises:
        RunError: no such run.
    """
    path = run_files.find_run(run)
    if path is not None:
        return RunFolder(path)
    raise RunError(f"no run is called {run!r}: 'bamsearch runs' lists all runs")


def all_folders(parent: Path = RUNS) -> list[RunFolder]:
    """The folders of all runs, oldest first."""
    runs = []
    for path in parent.glob("[!.]*/"):
        # The folders of other users may be unreadable.
        with suppress(PermissionError):
            file = path / RUN_FILE
            if file.is_file():
                runs.append((file.stat().st_mtime, path))
    return [RunFolder(path) for _, path in sorted(runs)]


def _budget_word(budget: Budget) -> str:
    if budget.text.endswith("%"):
        percent = _word(f"{budget.text.rstrip('%')}pct")
        return percent if budget.quantity == "gflops" else f"{percent}-{budget.quantity}"
    unit = {"gflops": "g", "ms": "ms"}.get(budget.quantity, "")
    return _word(f"{budget.text}{unit}")


def _word(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text).strip("-.+").lower() or "model"
