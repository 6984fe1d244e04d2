"""The trainings of an audit: their duration, and running them one by one or in processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from bamsearch.data.loading import load_recorded
from bamsearch.data.splits import Data
from bamsearch.errors import DivergedError, TrainingError
from bamsearch.evidence.audit.folder import AuditFolder
from bamsearch.evidence.audit.request import AuditPlan
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records import Audit, Audited
from bamsearch.records.audit_files import AuditTraining
from bamsearch.score.trained import train_once
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import build_initial_model
from bamsearch.training.progress import SILENT, TrainingView, Watch
from bamsearch.training.recipe import Recipe
from bamsearch.training.timing import step_seconds, training_seconds
from bamsearch.training.trainer import Training

_LOOK = 0.5


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

    Without a folder, all trainings are missing.
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


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """Estimate made before the trainings.

    Attributes:
        trainings: number of trainings in total.
        done: number of finished trainings.
        seconds: duration of the remaining trainings in one process.
    """

    trainings: int
    done: int
    seconds: float


def estimate_audit(
    planned: AuditPlan, clock: Callable[[], float] = time.perf_counter
) -> AuditEstimate:
    """Count finished trainings and estimate the duration of the others; writes nothing.

    The duration of a step is interpolated between the timed designs by their multiply-adds.

    Args:
        planned: the plan; with ``force``, finished trainings are ignored.
        clock: clock in seconds.
    """
    audit = planned.audit
    trainings = len(audit.designs) * len(audit.seeds)
    folder = None if planned.request.force else planned.folder
    remaining = sorted(missing(audit, folder), key=lambda job: job.audited.macs)
    if not remaining:
        return AuditEstimate(trainings, trainings, 0.0)
    step_times: dict[int, float] = {}
    for job in (remaining[0], remaining[len(remaining) // 2], remaining[-1]):
        if job.audited.macs not in step_times:
            initial = build_initial_model(
                audit.design(job.audited.insertions), planned.data, seed=audit.seeds[0]
            )
            training = Training(initial, planned.data, planned.recipe, device=audit.device)
            step_times[job.audited.macs] = step_seconds(training, audit.threads, clock)
    macs = [job.audited.macs for job in remaining]
    steps = np.interp(macs, list(step_times), list(step_times.values()))
    seconds = sum(training_seconds(step, planned.data, planned.recipe) for step in steps.tolist())
    return AuditEstimate(trainings, trainings - len(remaining), seconds)


def train_missing(planned: AuditPlan, view: TrainingView = SILENT) -> None:
    """Run the missing trainings; each one adds a line to ``trainings.jsonl``.

    The folder is locked by the caller.

    Raises:
        KeyboardInterrupt: interrupted, after writing checkpoints.
        TrainingError: a process was killed.
    """
    folder = planned.folder
    waiting = missing(planned.audit, folder)
    jobs = min(planned.request.jobs, len(waiting))
    if jobs > 1:
        finished = _in_processes(planned, folder.train, waiting, jobs)
    else:
        finished = _one_by_one(planned, folder.train, waiting, view)
    for job, training in finished:
        folder.append(training)
        reached = training.percent
        view.trained(f"{job.title}: {'diverged' if reached is None else f'{reached:.2f}%'}")
    folder.remove_trainings()


def _one_by_one(
    planned: AuditPlan, folder: Path, waiting: list[AuditJob], view: TrainingView
) -> Iterator[tuple[AuditJob, AuditTraining]]:
    audit = planned.audit
    device = torch.device(audit.device)
    for job in waiting:
        with (
            view.train(job.title, planned.recipe) as watch,
            preserve_torch_state(device, audit.threads),
        ):
            training = _train(audit, planned.data, planned.recipe, job, folder, watch)
        yield job, training


def _process_context() -> BaseContext:
    """Starts processes without this one's threads and CUDA, which do not survive a fork.

    On Linux they are forked from a server that imports torch once for all of them.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _in_processes(
    planned: AuditPlan, folder: Path, waiting: list[AuditJob], jobs: int
) -> Iterator[tuple[AuditJob, AuditTraining]]:
    """Trainings as they finish; only the parent writes their results."""
    context = _process_context()
    stop = context.Event()
    pool = ProcessPoolExecutor(
        jobs, context, _start_worker, (planned.audit, planned.recipe, folder, stop)
    )
    running: dict[Future[AuditTraining], AuditJob] = {}
    ahead = iter(waiting)
    try:
        while True:
            # Submit no more than can run, so that nothing has to be cancelled.
            while len(running) < jobs and (job := next(ahead, None)) is not None:
                running[pool.submit(_train_in_worker, job)] = job
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


def _train(
    audit: Audit, data: Data, recipe: Recipe, job: AuditJob, folder: Path, watch: Watch | None
) -> AuditTraining:
    """Train a design to the end; a diverged training has no result.

    The training resumes from the checkpoints in its folder, which is removed at the end.
    """
    insertions, checkpoints = job.audited.insertions, folder / job.place
    try:
        reached = train_once(
            audit.design(insertions),
            data,
            recipe,
            seed=job.seed,
            device=audit.device,
            checkpoints=checkpoints,
            watch=watch,
        )
    except DivergedError:
        TrainingFolder(checkpoints).remove()
        return AuditTraining(insertions, job.seed)
    return AuditTraining(
        insertions, job.seed, reached.right, reached.images, reached.curve, reached.seconds
    )


# State of a training process: audit, recipe and folder, and the running training.
_worker: list[tuple[Audit, Recipe, Path]] = []
_running: list[AuditJob] = []


def _start_worker(audit: Audit, recipe: Recipe, folder: Path, stop: Event) -> None:
    """Initialise this training process, which the event stops."""
    # Ctrl-C is handled by the parent, which then stops all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    threading.Thread(target=_watch_stop, args=(stop,), daemon=True).start()
    torch.set_num_threads(audit.threads)
    _worker[:] = [(audit, recipe, folder)]


def _watch_stop(stop: Event) -> None:
    """Stop this process after a checkpoint when requested, or when its parent is gone."""
    parent = multiprocessing.parent_process()
    while not stop.wait(_LOOK):
        if parent is not None and not parent.is_alive():
            os._exit(1)
    # On SIGTERM a training saves a checkpoint and stops.
    os.kill(os.getpid(), signal.SIGTERM)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Interrupt a training during its set-up; an idle process stops with its pool."""
    if _running:
        raise KeyboardInterrupt


def _train_in_worker(job: AuditJob) -> AuditTraining:
    audit, recipe, folder = _worker[0]
    _running[:] = [job]
    try:
        return _train(audit, _data(), recipe, job, folder, None)
    finally:
        _running.clear()


@cache
def _data() -> Data:
    """The data, read once per process."""
    return load_recorded(_worker[0][0].data, "the audit")
