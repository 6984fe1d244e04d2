"""A search from start to end: the folder, the studies, the workers, the finalists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from bamsearch.errors import RunError
from bamsearch.records import ReferenceKind, Run, RunRecord, Trial
from bamsearch.score.scorer import make_scorer
from bamsearch.search.finalists import time_finalists
from bamsearch.search.folder import RunFolder
from bamsearch.search.jobs import run_workers
from bamsearch.search.loop import Score, work
from bamsearch.search.references import first_designs, references
from bamsearch.search.request import Planned, planned_again
from bamsearch.search.samplers import make_proposer
from bamsearch.search.storage import open_storage, shown_url, sqlite_url
from bamsearch.search.study import (
    Key,
    SearchStudy,
    create_studies,
    store_run,
    stored_run,
)

if TYPE_CHECKING:
    from torch import nn

Finished = tuple[ReferenceKind | None, Trial]


@dataclass(frozen=True, slots=True)
class Work:
    """How a search is carried out; none of it changes what is found with one process.

    Attributes:
        url: of the database; None is a file in the run's folder.
        jobs: processes that score.
        module: the base, where no name builds it.
        score: the score, where no name finds it.
        stop: asked between trials.
        watch: called with what has finished since the last time, the earlier part of a run first.
    """

    url: str | None = None
    jobs: int = 1
    module: nn.Module | None = None
    score: Score | None = None
    stop: Callable[[], bool] = lambda: False
    watch: Callable[[Sequence[Finished]], None] = lambda trials: None


def run_search(planned: Planned, folder: RunFolder, how: Work) -> RunRecord:
    """Carry a search out, or go on with it, until no trial is left or it is stopped.

    Args:
        planned: what is asked for; of a run that is there, what it was asked for.
        folder: of the run; made already.
        how: how to carry it out.

    Returns:
        All that is finished.

    Raises:
        RunError: another process works on this run, or its name is taken in the database.
        StorageError: the database does not answer.
        ScoreError: no such score, or the first ten designs all failed.
    """
    _quiet()
    shown = None if how.url is None else shown_url(how.url)
    planned = replace(planned, run=replace(planned.run, name=folder.name, storage=shown))
    run = planned.run
    with folder.locked():
        storage = _storage(folder, run, how)
        _write_down(folder, storage, run)
        folder.mend()
        study = open_study(planned, storage, alone=how.jobs == 1 and how.url is None)
        study.prepare(
            first_designs(planned.feasible, run.sampler),
            references(
                planned.feasible,
                seed=run.seed,
                random=run.trials if run.compare_random else 0,
            ),
        )
        ledger = _Ledger(folder, study, how)
        ledger.write()
        folder.log(f"searching with {how.jobs} process{'es' if how.jobs > 1 else ''}")
        ended = False
        try:
            ended = _score_all(study, folder, how, ledger)
        finally:
            ledger.write()
            folder.log("all trials are finished" if ended else "interrupted")
        if ended and any(budget.quantity == "ms" for budget in run.budgets):
            folder.write_finalists(time_finalists(folder.read_record(), how.module))
            ledger.write_best()
        return folder.read_record()


def open_study(planned: Planned, storage: BaseStorage, *, alone: bool) -> SearchStudy:
    """A run's studies, with the sampler that it was asked for."""
    run = planned.run
    proposer = make_proposer(run.sampler, planned.feasible, run.objectives, run.seed)
    return SearchStudy(storage, run, planned.feasible, proposer, alone=alone)


def work_on(name: str, url: str, *, stop: Callable[[], bool]) -> tuple[Run, bool]:
    """Score trials of a run in a database, beside any number of others that do.

    Args:
        name: of the run.
        url: of the database.
        stop: asked between trials.

    Returns:
        The run, and whether no trial is left.

    Raises:
        RunError: no such run there.
        StorageError: the database does not answer.
        ScoreError: the run's score is not found here.
    """
    _quiet()
    storage = open_storage(url)
    run = stored_run(storage, name)
    # Only now is known how often a sign of life is due.
    storage = open_storage(url, heartbeat=run.heartbeat)
    study = open_study(planned_again(run), storage, alone=False)
    score = make_scorer(
        run.score, run.summary, seed=run.seed, num_classes=run.num_classes, device=run.device
    )
    return run, work(study, score, shown=shown_url(url), stop=stop)


def folder_from_database(name: str, url: str, folder: RunFolder) -> Run:
    """Make the folder of a run that was started on another machine.

    Raises:
        RunError: no such run in the database.
    """
    run = stored_run(open_storage(url), name)
    folder.create()
    folder.write_run(run)
    return run


class _Ledger:
    """Keeps the folder's plain record up with the study."""

    def __init__(self, folder: RunFolder, study: SearchStudy, how: Work) -> None:
        self._folder = folder
        self._study = study
        self._watch = how.watch
        self._best: tuple[float, int] | None = None
        record = folder.read_record()
        known: list[Finished] = [(None, t) for t in record.trials]
        known += record.references
        self._written: set[Key] = {(kind, trial.number) for kind, trial in known}
        self._watch(known)

    def write(self) -> None:
        """Write down what has finished since the last time."""
        new = self._study.finished(self._written)
        if not new:
            return
        finished: list[Finished] = [(key[0], trial) for key, trial in new]
        self._folder.append(finished)
        self._written.update(key for key, _ in new)
        for kind, trial in finished:
            if trial.state == "failed":
                what = "trial" if kind is None else f"{kind} reference"
                self._folder.log(f"{what} {trial.number} failed: {trial.reason}")
        if any(kind is None and self._improves(trial) for kind, trial in finished):
            self.write_best()
        self._watch(finished)

    def write_best(self) -> None:
        """Write the best design so far."""
        best = self._folder.read_record().best
        if best is not None:
            self._folder.write_best(best.design)

    def _improves(self, trial: Trial) -> bool:
        if trial.score is None:
            return False
        rank = (trial.score, -trial.macs)
        if self._best is not None and rank < self._best:
            return False
        self._best = rank
        return True


def _storage(folder: RunFolder, run: Run, how: Work) -> BaseStorage:
    shared = how.jobs > 1 or how.url is not None
    url = how.url or sqlite_url(folder.study)
    return open_storage(url, heartbeat=run.heartbeat if shared else None)


def _write_down(folder: RunFolder, storage: BaseStorage, run: Run) -> None:
    """Write what is asked for into the folder and the database, wherever it is missing."""
    try:
        stored = stored_run(storage, run.name)
    except RunError:
        folder.write_run(run)
        create_studies(storage, run)
        return
    if (folder.path / "run.json").exists() and folder.read_run().created != stored.created:
        raise RunError(
            f"run {run.name} in this database is another one than that in {folder.path}: "
            "choose another --name"
        )
    if not (folder.path / "run.json").exists():
        raise RunError(
            f"there is a run {run.name} in this database: go on with --resume {run.name}, "
            "or choose another --name"
        )
    folder.write_run(run)
    store_run(storage, run)


def _score_all(study: SearchStudy, folder: RunFolder, how: Work, ledger: _Ledger) -> bool:
    run = study.run
    url = how.url or sqlite_url(folder.study)
    if how.jobs > 1:
        log = folder.path / "log.txt"
        return run_workers(
            run.name, url, how.jobs, log=log, stop=how.stop, finished=ledger.write
        )
    score = make_scorer(
        how.score or run.score,
        run.summary,
        module=how.module,
        seed=run.seed,
        num_classes=run.num_classes,
        device=run.device,
    )
    return work(study, score, shown=shown_url(url), stop=how.stop, finished=ledger.write)


def _quiet() -> None:
    """Optuna tells of each trial on stderr; the search has words of its own for that."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def remove_if_empty(path: Path) -> None:
    """Take away a folder in which nothing was written yet, as when a search cannot start."""
    with suppress(OSError):
        path.rmdir()
