"""Runs the missing trainings of an audit, one after another or in several processes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path

import torch

from bamsearch.errors import TrainingError
from bamsearch.evidence.audit.folder import AuditFolder
from bamsearch.evidence.audit.request import AuditPlan
from bamsearch.evidence.audit.workers import (
    Watch,
    WorkerSettings,
    start_worker,
    train_design,
    train_in_worker,
)
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records import Audit, Audited
from bamsearch.records.audit_files import AuditTraining

Follow = Callable[[str], AbstractContextManager[Watch | None]]
"""Title of a training → context that gives a callback for its progress, or None."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class AuditJob:
    """A missing training.

    Attributes:
        index: index of the design in the sample.
        audited: the design.
        seed: random seed.
        title: title for progress and results.
    """

    index: int
    audited: Audited
    seed: int
    title: str

    @property
    def place(self) -> str:
        """Name of the checkpoint folder."""
        return f"{self.seed}-{self.index}"


def missing(audit: Audit, folder: AuditFolder | None) -> list[AuditJob]:
    """The missing trainings, seed by seed, so that an interruption leaves complete seeds.

    Args:
        audit: the audit.
        folder: folder with the finished trainings; None: ignore them.
    """
    done = {} if folder is None else folder.trainings(audit)
    every = [(seed, index) for seed in audit.seeds for index in range(len(audit.designs))]
    jobs = []
    for number, (seed, index) in enumerate(every, start=1):
        audited = audit.designs[index]
        if (audited.insertions, seed) not in done:
            texts = (f"{i.site} r{i.reduction} d{i.dilation}" for i in audited.insertions)
            design = ", ".join(texts) or "no BAM"
            title = f"training {number} of {len(every)}: {design}, seed {seed}"
            jobs.append(AuditJob(index, audited, seed, title))
    return jobs


def train_missing(
    planned: AuditPlan,
    folder: AuditFolder,
    *,
    jobs: int = 1,
    follow: Follow = lambda title: nullcontext(),
    say: Say = lambda text: None,
) -> None:
    """Run the missing trainings; each one adds a line to ``trainings.jsonl``.

    Args:
        planned: the plan, with the audit's name.
        folder: folder of the audit, locked by the caller.
        jobs: number of processes.
        follow: see :data:`Follow`; used with one process only.
        say: called with the result of each training, as text.

    Raises:
        KeyboardInterrupt: interrupted, after writing checkpoints.
        TrainingError: a process was killed.
    """
    waiting = missing(planned.audit, folder)
    jobs = min(jobs, len(waiting))
    if jobs > 1:
        finished = _in_processes(planned, folder.train, waiting, jobs)
    else:
        finished = _one_by_one(planned, folder.train, waiting, follow)
    for job, training in finished:
        folder.append(training)
        reached = training.percent
        say(f"{job.title}: {'diverged' if reached is None else f'{reached:.2f}%'}")
    folder.remove_trainings()


def _one_by_one(
    planned: AuditPlan, folder: Path, waiting: list[AuditJob], follow: Follow
) -> Iterator[tuple[AuditJob, AuditTraining]]:
    audit = planned.audit
    device = torch.device(audit.device)
    for job in waiting:
        with follow(job.title) as watch, preserve_torch_state(device, audit.threads):
            design = audit.design(job.audited.insertions)
            training = train_design(
                design,
                planned.data,
                planned.recipe,
                job.seed,
                audit.device,
                folder / job.place,
                watch,
            )
        yield job, training


def _process_context() -> BaseContext:
    """Starts processes without this one's threads and CUDA, which do not survive a fork.

    On Linux they are forked from a server that imports torch once for all of them.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([train_in_worker.__module__])
    return context


def _in_processes(
    planned: AuditPlan, folder: Path, waiting: list[AuditJob], jobs: int
) -> Iterator[tuple[AuditJob, AuditTraining]]:
    """Trainings as they finish; only the parent writes their results."""
    audit = planned.audit
    context = _process_context()
    stop = context.Event()
    base = audit.design(audit.designs[0].insertions)
    worker = WorkerSettings(audit.data, base, planned.recipe, audit.device, audit.threads)
    pool = ProcessPoolExecutor(jobs, context, start_worker, (worker, stop))
    running: dict[Future[AuditTraining], AuditJob] = {}
    ahead = iter(waiting)
    try:
        while True:
            # Submit no more than can run, so that nothing has to be cancelled.
            while len(running) < jobs and (job := next(ahead, None)) is not None:
                design = audit.design(job.audited.insertions)
                running[pool.submit(train_in_worker, design, job.seed, folder / job.place)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a training process was killed, possibly for lack of memory: run the same command with "
            "fewer `jobs` to continue"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
