"""Runs a search from start to end: folder, studies, workers and finalists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage

from bamsearch.errors import RunError
from bamsearch.records import BASE_SEEDS, Design, Run, RunRecord
from bamsearch.records.run_files import TRIALS_FILE
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import SCORES
from bamsearch.study.baselines import first_designs, list_baselines
from bamsearch.study.finalists import time_finalists
from bamsearch.study.folder import ENDED, LOG_FILE, STARTED, RunFolder, new_folder
from bamsearch.study.jobs import run_workers
from bamsearch.study.ledger import Finished as Finished
from bamsearch.study.ledger import TrialLedger
from bamsearch.study.loop import Evaluator, Score, score_evaluator, score_trials
from bamsearch.study.request import SearchPlan, plan_of_run
from bamsearch.study.samplers import make_sampler
from bamsearch.study.storage import mask_url, open_storage, retry_until, sqlite_url
from bamsearch.study.studies import (
    check_free,
    complete_studies,
    create_studies,
    find_stored_run,
    store_run,
    stored_run,
)
from bamsearch.study.study import SearchStudy

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.data.splits import Data
    from bamsearch.training.progress import Progress

FollowTraining = Callable[[Design, "Progress"], None]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Execution options of a search; with one process, none of them changes the result.

    Attributes:
        url: database URL; None is a file in the folder of the run.
        jobs: number of worker processes.
        module: base network, if no MODEL name builds it.
        data: the data of the run, if no name loads them.
        score: score function, if it has no name.
        stop: polled between trials; True stops the search.
        watch: called with newly finished trials; the first call has those of an earlier session.
        follow: called with a design and the progress of its training, every few steps.
    """

    url: str | None = None
    jobs: int = 1
    module: nn.Module | None = None
    data: Data | None = None
    score: Score | None = None
    stop: Callable[[], bool] = lambda: False
    watch: Callable[[Sequence[Finished]], None] = lambda trials: None
    follow: FollowTraining | None = None


def run_search(planned: SearchPlan, folder: RunFolder, options: SearchOptions) -> RunRecord:
    """Run or resume a search until all trials are finished or it is stopped.

    Returns:
        The run with its finished trials.

    Raises:
        RunError: another process is working on this run, or its name is taken in the database.
        StorageError: the database does not answer.
        ScoreError: no such score, or the first ten designs all failed.
    """
    if not folder.is_run:
        start_run(planned.run, folder, options.url)
    url = options.url or sqlite_url(folder.study)
    shared = options.jobs > 1 or options.url is not None
    # The study keeps its name if the folder is renamed.
    name = planned.run.name or folder.read_run().name
    masked_url = None if options.url is None else mask_url(url)
    run = replace(planned.run, name=name, storage=masked_url)
    heartbeat = run.heartbeat if shared else None
    with folder.locked(), _quiet(), open_storage(url, heartbeat=heartbeat) as storage:
        folder.repair()
        retry = partial(retry_until, masked_url=mask_url(url))
        planned = replace(planned, run=retry(partial(_record_run, folder, storage, run)))
        study = retry(partial(open_study, planned, storage, url, single_process=not shared))
        study.retry(_prepare, study, planned)
        ledger = TrialLedger(folder, study, options.watch)
        # Files derived from trials may be missing after a kill or a full disk.
        ledger.write()
        folder.log(f"{STARTED} {options.jobs} process{'es' if options.jobs > 1 else ''}")
        ended = False
        try:
            ended = _score_all(study, folder, url, options, ledger)
        finally:
            ledger.write()
            folder.log(ENDED if ended else "interrupted")
        if ended:
            folder.remove_trainings()
        if ended and any(budget.quantity == "ms" for budget in planned.run.budgets):
            folder.write_finalists(time_finalists(folder.read_record(), options.module))
            ledger.follow()
        return folder.read_record()


def start_run(
    run: Run, folder: RunFolder | None, url: str | None = None, *, force: bool = False
) -> RunFolder:
    """Create the folder of a new run, which can be resumed from then on.

    Raises:
        OutputError: the folder cannot be created.
        RunError: another process uses the folder, or the name is taken in the database.
        StorageError: the database does not answer.
    """
    if url is None:
        return _created(run, folder, force)
    retry = partial(retry_until, masked_url=mask_url(url))
    run = replace(run, storage=mask_url(url))
    with _quiet(), open_storage(url) as storage:
        if folder is not None:
            retry(partial(check_free, storage, run.name or folder.name))
        # Folder first: without it, nobody could resume.
        folder = _created(run, folder, force)
        retry(partial(create_studies, storage, folder.read_run()))
    return folder


def _created(run: Run, folder: RunFolder | None, force: bool) -> RunFolder:
    if folder is None:
        return new_folder(run)
    start = folder.restart if force and folder.is_run else folder.create
    start(replace(run, name=run.name or folder.name))
    return folder


def open_study(
    planned: SearchPlan, storage: BaseStorage, url: str, *, single_process: bool
) -> SearchStudy:
    """Open the studies of a run with its sampler."""
    run = planned.run
    sampler = make_sampler(
        run.sampler,
        planned.feasible,
        run.objectives,
        run.seed,
        score=run.score,
        repeats=run.repeats,
    )
    return SearchStudy(
        storage,
        run,
        planned.feasible,
        sampler,
        single_process=single_process,
        masked_url=mask_url(url),
    )


def work_on(
    name: str, url: str, *, device: str | None = None, stop: Callable[[], bool]
) -> tuple[Run, bool]:
    """Score trials of a run in a database, as one of any number of workers.

    ``device`` may differ from that of a run that was started on a machine without a GPU.

    Returns:
        The run, and whether all trials are finished.

    Raises:
        RunError: no such run in the database.
        StorageError: the database does not answer.
        ScoreError: the score of the run is not available here.
    """
    with _quiet():
        run = _stored(name, url)
        planned = plan_of_run(replace(run, device=_device(run, device)))
        # Connect again: the heartbeat interval is in the run.
        with open_storage(url, heartbeat=run.heartbeat) as storage, _computing(run):
            opened = partial(open_study, planned, storage, url, single_process=False)
            study = retry_until(opened, mask_url(url))
            evaluate = _evaluator(study, SearchOptions())
            return run, score_trials(study, evaluate, stop=stop)


def run_from_database(name: str, url: str) -> Run:
    """A run that was started on another machine.

    Raises:
        RunError: no such run in the database.
    """
    with _quiet():
        return _stored(name, url)


def _stored(name: str, url: str) -> Run:
    with open_storage(url) as storage:
        return retry_until(partial(stored_run, storage, name), mask_url(url))


def _record_run(folder: RunFolder, storage: BaseStorage, run: Run) -> Run:
    """Bring the run in the folder and in the database up to date.

    Returns:
        The run, with more trials if another search on it has requested more.
    """
    record = folder.read_record()
    stored = find_stored_run(storage, run.name)
    if stored is None:
        if record.trials or record.baselines:
            raise RunError(
                f"the study of run {run.name} is missing from {run.storage or folder.study}: "
                f"{folder.path / TRIALS_FILE} still has its trials, but the search cannot resume"
            )
        complete_studies(storage, run)
    elif stored.created != record.run.created:
        raise RunError(
            f"run {run.name} in this database is not the run in {folder.path}: "
            "choose another `name`"
        )
    else:
        run = replace(run, trials=max(run.trials, stored.trials))
        store_run(storage, run)
    folder.write_run(run)
    return run


def _prepare(study: SearchStudy, planned: SearchPlan) -> None:
    """Queue the first designs and the baselines."""
    run = planned.run
    first = first_designs(planned.feasible, run.sampler)
    baselines = list_baselines(
        planned.feasible,
        seed=run.seed,
        random=run.trials if run.compare_random else 0,
        base=BASE_SEEDS if run.trained else 1,
    )
    study.prepare(first, baselines)


def _score_all(
    study: SearchStudy, folder: RunFolder, url: str, options: SearchOptions, ledger: TrialLedger
) -> bool:
    run, stop = study.run, options.stop
    if options.jobs > 1:
        log = folder.path / LOG_FILE
        return run_workers(
            run.name,
            url,
            options.jobs,
            device=run.device,
            log=log,
            stop=stop,
            finished=ledger.write,
        )
    with _computing(run):
        evaluate = _evaluator(study, options, folder.path)
        return score_trials(study, evaluate, stop=stop, finished=ledger.write)


def _evaluator(study: SearchStudy, options: SearchOptions, folder: Path | None = None) -> Evaluator:
    """Evaluates trials; a worker, which may run on another machine, has no folder."""
    if study.run.trained:
        # Imported here because it needs the extra train.
        from bamsearch.study.train_evaluator import train_evaluator

        return train_evaluator(
            study, folder=folder, follow=options.follow, module=options.module, data=options.data
        )
    return score_evaluator(scorer_of(study.run, options), study.run)


def scorer_of(run: Run, options: SearchOptions) -> Score:
    """The score of a run, if it needs no training."""
    return make_scorer(
        options.score or run.score,
        run.summary,
        module=options.module,
        seed=run.seed,
        num_classes=run.num_classes,
        device=run.device,
    )


def _builds(run: Run) -> bool:
    """Whether the score needs a network; if not, torch stays unloaded."""
    zero_cost = SCORES.get(run.score)
    return zero_cost is None or zero_cost.needs_module


def _device(run: Run, device: str | None) -> str:
    if device is None or not _builds(run):
        return run.device
    from bamsearch.profiling.devices import resolve_device

    return str(resolve_device(device))


@contextmanager
def _computing(run: Run) -> Iterator[None]:
    """Use the run's number of threads: it affects the last digits of a score."""
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
    """Silence Optuna, which logs every trial on stderr: the search has its own output."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
