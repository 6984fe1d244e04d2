"""A search from start to end: the folder, the studies, the workers, the finalists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from bamsearch.errors import RunError
from bamsearch.records import BASE_SEEDS, Design, Run, RunRecord
from bamsearch.records.run_files import RUN_FILE, TRIALS_FILE
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import SCORES
from bamsearch.searching.finalists import time_finalists
from bamsearch.searching.folder import ENDED, LOG_FILE, STARTED, RunFolder
from bamsearch.searching.jobs import run_workers
from bamsearch.searching.ledger import Finished as Finished
from bamsearch.searching.ledger import Ledger
from bamsearch.searching.loop import Measure, Score, plain, work
from bamsearch.searching.references import first_designs, references
from bamsearch.searching.request import Planned, planned_again
from bamsearch.searching.samplers import make_proposer
from bamsearch.searching.storage import opened_storage, patiently, shown_url, sqlite_url
from bamsearch.searching.studies import (
    check_free,
    complete_studies,
    create_studies,
    find_stored_run,
    store_run,
    stored_run,
)
from bamsearch.searching.study import SearchStudy

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.training.progress import Progress

Follow = Callable[[Design, "Progress"], None]


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
        follow: called with a design and where its training is, after every
            few steps.
    """

    url: str | None = None
    jobs: int = 1
    module: nn.Module | None = None
    score: Score | None = None
    stop: Callable[[], bool] = lambda: False
    watch: Callable[[Sequence[Finished]], None] = lambda trials: None
    follow: Follow | None = None


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
    shown = None if how.url is None else shown_url(how.url)
    # A folder may have been moved: its study is still called as before.
    name = planned.run.name or folder.name
    planned = replace(planned, run=replace(planned.run, name=name, storage=shown))
    with folder.locked(), _quiet(), _storage(folder, planned.run, how) as storage:
        folder.mend()
        ask = partial(patiently, shown=shown_url(_url(folder, how)))
        planned = replace(planned, run=ask(partial(_write_down, folder, storage, planned.run)))
        alone = how.jobs == 1 and how.url is None
        study = ask(partial(open_study, planned, storage, alone=alone))
        ask(partial(_prepare, study, planned))
        ledger = Ledger(folder, study, shown_url(_url(folder, how)), how.watch)
        # Also what follows from trials: a kill, or a full disk, may have come in between.
        ledger.write()
        folder.log(f"{STARTED} {how.jobs} process{'es' if how.jobs > 1 else ''}")
        ended = False
        try:
            ended = _score_all(study, folder, how, ledger)
        finally:
            ledger.write()
            folder.log(ENDED if ended else "interrupted")
        if ended:
            folder.remove_trainings()
        if ended and any(budget.quantity == "ms" for budget in planned.run.budgets):
            folder.write_finalists(time_finalists(folder.read_record(), how.module))
            ledger.follow()
        return folder.read_record()


def open_study(planned: Planned, storage: BaseStorage, *, alone: bool) -> SearchStudy:
    """A run's studies, with the sampler that it was asked for."""
    run = planned.run
    proposer = make_proposer(
        run.sampler,
        planned.feasible,
        run.objectives,
        run.seed,
        score=run.score,
        repeats=run.repeats,
    )
    return SearchStudy(storage, run, planned.feasible, proposer, alone=alone)


def work_on(
    name: str, url: str, *, device: str | None = None, stop: Callable[[], bool]
) -> tuple[Run, bool]:
    """Score trials of a run in a database, beside any number of others that do.

    Args:
        name: of the run.
        url: of the database.
        device: where to score, if not where the run does; a search may have been started on a
            machine without a GPU.
        stop: asked between trials.

    Returns:
        The run, and whether no trial is left.

    Raises:
        RunError: no such run there.
        StorageError: the database does not answer.
        ScoreError: the run's score is not found here.
    """
    shown = shown_url(url)
    with _quiet():
        with opened_storage(url) as storage:
            run = patiently(partial(stored_run, storage, name), shown)
        planned = planned_again(replace(run, device=_device(run, device)))
        # Only now is known how often a sign of life is due.
        with opened_storage(url, heartbeat=run.heartbeat) as storage, _computing(run):
            study = patiently(partial(open_study, planned, storage, alone=False), shown)
            measure = _worker_measure(study, shown)
            return run, work(study, measure, shown=shown, stop=stop)


def folder_from_database(name: str, url: str, folder: RunFolder) -> Run:
    """Make the folder of a run that was started on another machine.

    Raises:
        RunError: no such run in the database.
    """
    with _quiet(), opened_storage(url) as storage:
        run = patiently(partial(stored_run, storage, name), shown_url(url))
    folder.create()
    folder.write_run(run)
    return run


def _url(folder: RunFolder, how: Work) -> str:
    return how.url or sqlite_url(folder.study)


def _storage(folder: RunFolder, run: Run, how: Work) -> AbstractContextManager[BaseStorage]:
    shared = how.jobs > 1 or how.url is not None
    return opened_storage(_url(folder, how), heartbeat=run.heartbeat if shared else None)


def _write_down(folder: RunFolder, storage: BaseStorage, run: Run) -> Run:
    """Write what is asked for into the folder and the database, wherever it is missing.

    Returns:
        The run; with more trials, where another search on it has asked for more.
    """
    if not (folder.path / RUN_FILE).exists():
        # A study that is there is another's. First the folder, or nobody could go on with it.
        check_free(storage, run.name)
        folder.write_run(run)
        create_studies(storage, run)
        return run
    record = folder.read_record()
    stored = find_stored_run(storage, run.name)
    if stored is None:
        if record.trials or record.references:
            raise RunError(
                f"the study of run {run.name} is not in {run.storage or folder.study}: its trials "
                f"are still in {folder.path / TRIALS_FILE}, but no search can go on with them"
            )
        complete_studies(storage, run)
    elif stored.created != record.run.created:
        raise RunError(
            f"run {run.name} in this database is another one than that in {folder.path}: "
            "choose another --name"
        )
    else:
        run = replace(run, trials=max(run.trials, stored.trials))
        store_run(storage, run)
    folder.write_run(run)
    return run


def _prepare(study: SearchStudy, planned: Planned) -> None:
    """Queue what is known before any proposal."""
    run = planned.run
    first = first_designs(planned.feasible, run.sampler)
    compared = references(
        planned.feasible,
        seed=run.seed,
        random=run.trials if run.compare_random else 0,
        base=BASE_SEEDS if run.trained else 1,
    )
    study.prepare(first, compared)


def _score_all(study: SearchStudy, folder: RunFolder, how: Work, ledger: Ledger) -> bool:
    run = study.run
    url = _url(folder, how)
    if how.jobs > 1:
        log = folder.path / LOG_FILE
        return run_workers(
            run.name,
            url,
            how.jobs,
            device=run.device,
            log=log,
            stop=how.stop,
            finished=ledger.write,
        )
    with _computing(run):
        measure = _measure(study, folder, shown_url(url), how)
        return work(study, measure, shown=shown_url(url), stop=how.stop, finished=ledger.write)


def _measure(study: SearchStudy, folder: RunFolder, shown: str, how: Work) -> Measure:
    """What carries out the trials of a run."""
    if study.run.trained:
        # Only here is the extra train needed.
        from bamsearch.searching.trained import trainer

        return trainer(study.run, study, folder=folder.path, shown=shown, follow=how.follow)
    return _score(study.run, how)


def _worker_measure(study: SearchStudy, shown: str) -> Measure:
    """The same for a worker, which may be on another machine than the run's folder."""
    run = study.run
    if run.trained:
        from bamsearch.searching.trained import trainer

        return trainer(run, study, folder=None, shown=shown)
    return _score(run, Work())


def _score(run: Run, how: Work) -> Measure:
    """A score that needs no training."""
    score = make_scorer(
        how.score or run.score,
        run.summary,
        module=how.module,
        seed=run.seed,
        num_classes=run.num_classes,
        device=run.device,
    )
    return plain(score, run)


def _builds(run: Run) -> bool:
    """Whether the score needs a network; else torch stays unloaded."""
    known = SCORES.get(run.score)
    return known is None or known.needs_module


def _device(run: Run, device: str | None) -> str:
    if device is None or not _builds(run):
        return run.device
    from bamsearch.profile.devices import resolve_device

    return str(resolve_device(device))


@contextmanager
def _computing(run: Run) -> Iterator[None]:
    """Score with the run's threads: with others, a score's last digits differ."""
    if not _builds(run):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(run.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of each trial on stderr; the search has words of its own for that."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def remove_if_empty(path: Path) -> None:
    """Remove a folder in which no run was written down yet, as when a search cannot start."""
    with suppress(OSError, RunError):
        RunFolder(path).remove_unbegun()
