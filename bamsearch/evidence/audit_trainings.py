"""The trainings of an audit: those that are missing, one after another or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import torch

from bamsearch.data.splits import Data
from bamsearch.errors import DataError, DivergedError, TrainingError
from bamsearch.evidence.audit_folder import AuditFolder
from bamsearch.evidence.audit_request import Planned
from bamsearch.records import Audit, Audited, DataFacts, Design
from bamsearch.records.audit_files import Training
from bamsearch.score.trained import train_once
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.request import load_for

Watch = Callable[[Progress], None]
Follow = Callable[[str], AbstractContextManager[Watch | None]]
"""Given the title of a training, what follows it."""

Say = Callable[[str], None]

_LOOK = 0.5


@dataclass(frozen=True)
class Job:
    """A training that is missing.

    Attributes:
        index: of the design in the sample.
        audited: the design.
        seed: of everything random.
        title: what it is called.
    """

    index: int
    audited: Audited
    seed: int
    title: str

    @property
    def place(self) -> str:
        """The name of the folder of its checkpoint."""
        return f"{self.seed}-{self.index}"


def missing(audit: Audit, folder: AuditFolder | None) -> list[Job]:
    """What is not trained yet, seed by seed, so that an interruption leaves whole seeds.

    Args:
        audit: what is asked.
        folder: has the trainings that are done; None counts none.
    """
    done = {} if folder is None else folder.trainings(audit)
    every = [(seed, index) for seed in audit.seeds for index in range(len(audit.designs))]
    found = []
    for number, (seed, index) in enumerate(every, start=1):
        one = audit.designs[index]
        if (one.insertions, seed) not in done:
            what = ", ".join(f"{i.site} r{i.reduction} d{i.dilation}" for i in one.insertions)
            title = f"training {number} of {len(every)}: {what or 'no BAM'}, seed {seed}"
            found.append(Job(index, one, seed, title))
    return found


def train_missing(
    planned: Planned,
    folder: AuditFolder,
    *,
    jobs: int = 1,
    follow: Follow = lambda title: nullcontext(),
    say: Say = lambda text: None,
) -> None:
    """Train what is not trained yet, a line of ``trainings.jsonl`` each.

    Args:
        planned: what is asked, under the name of the folder.
        folder: of the audit, which the caller holds.
        jobs: processes.
        follow: see :data:`Follow`; of one process.
        say: told what each training reached.

    Raises:
        KeyboardInterrupt: it was interrupted; checkpoints have been written.
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
        reached = training.per_cent
        say(f"{job.title}: {'diverged' if reached is None else f'{reached:.2f} %'}")
    shutil.rmtree(folder.train, ignore_errors=True)


def _one_by_one(
    planned: Planned, place: Path, waiting: list[Job], follow: Follow
) -> Iterator[tuple[Job, Training]]:
    audit = planned.audit
    for job in waiting:
        with follow(job.title) as watch, threads_set(audit.threads):
            design = audit.design(job.audited)
            training = _trained(
                design,
                planned.data,
                planned.recipe,
                job.seed,
                audit.device,
                place / job.place,
                watch,
            )
        yield job, training


def _trained(
    design: Design,
    data: Data,
    recipe: Recipe,
    seed: int,
    device: str,
    place: Path,
    watch: Watch | None = None,
) -> Training:
    try:
        reached = train_once(
            design, data, recipe, seed=seed, device=device, place=place, watch=watch
        )
    except DivergedError:
        shutil.rmtree(place, ignore_errors=True)
        return Training(design.insertions, seed)
    return Training(
        design.insertions, seed, reached.right, reached.images, reached.curve, reached.seconds
    )


@contextmanager
def threads_set(number: int) -> Iterator[None]:
    """Let torch have so many threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_processes(
    planned: Planned, place: Path, waiting: list[Job], jobs: int
) -> Iterator[tuple[Job, Training]]:
    """Trainings as they finish; the parent alone writes what they reached."""
    audit = planned.audit
    # Not forked: torch's threads and CUDA do not outlive that.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    base = audit.design(audit.designs[0])
    worker = _Worker(audit.data, base, planned.recipe, audit.device, audit.threads)
    pool = ProcessPoolExecutor(jobs, context, _begin, (worker, stop))
    running: dict[Future[Training], Job] = {}
    ahead = iter(waiting)
    try:
        while True:
            # No more than are at work: what is not begun then needs no taking back.
            while len(running) < jobs and (job := next(ahead, None)) is not None:
                design = audit.design(job.audited)
                running[pool.submit(_work, design, job.seed, place / job.place)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process that trained was killed, as for lack of memory: the same command goes on, "
            "with fewer --jobs"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Worker:
    """What a process that trains is told once.

    Attributes:
        facts: of the data.
        base: a design, for which the data are loaded.
        recipe: how.
        device: where.
        threads: torch's, on a CPU.
    """

    facts: DataFacts
    base: Design
    recipe: Recipe
    device: str
    threads: int


# Of a process that trains: what it was told, and the training at work.
_told: list[_Worker] = []
_at_work: list[Path] = []


def _begin(worker: _Worker, stop: Event) -> None:
    """Make this process ready to train."""
    # Ctrl-C is for the parent, which then asks all to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stopped)
    threading.Thread(target=_heed, args=(stop,), daemon=True).start()
    torch.set_num_threads(worker.threads)
    _told[:] = [worker]


def _heed(stop: Event) -> None:
    """End this process when it is asked to, after a checkpoint, or when its parent is gone."""
    parent = os.getppid()
    while not stop.wait(_LOOK):
        if os.getppid() != parent:
            os._exit(1)
    # A training takes that as a request to save, and to end.
    os.kill(os.getpid(), signal.SIGTERM)


def _stopped(number: int, frame: FrameType | None) -> None:
    """While a training is put together; an idle process ends as its pool does."""
    if _at_work:
        raise KeyboardInterrupt


def _work(design: Design, seed: int, place: Path) -> Training:
    worker = _told[0]
    _at_work[:] = [place]
    try:
        return _trained(design, _data(), worker.recipe, seed, worker.device, place)
    finally:
        _at_work.clear()


@cache
def _data() -> Data:
    """The data, read once in each process."""
    worker = _told[0]
    facts = worker.facts
    data = load_for(facts.name, worker.base, download=False, split_seed=facts.split_seed)
    if data.facts.hash != facts.hash:
        raise DataError(f"{facts.name} has changed since the audit began: audit again")
    return data
