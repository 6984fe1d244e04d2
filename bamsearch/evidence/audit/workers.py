"""A training of an audit, and the processes that train several at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType

import torch

from bamsearch.data.splits import Data
from bamsearch.errors import DataError, DivergedError
from bamsearch.records import DataFacts, Design
from bamsearch.records.audit_files import Training
from bamsearch.score.trained import train_once
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.request import load_for

Watch = Callable[[Progress], None]

_LOOK = 0.5


def trained(
    design: Design,
    data: Data,
    recipe: Recipe,
    seed: int,
    device: str,
    folder: Path,
    watch: Watch | None = None,
) -> Training:
    """One training of a design to its end; one that diverges has no result.

    Args:
        design: what to train.
        data: what on.
        recipe: how.
        seed: of everything random.
        device: where.
        place: for checkpoints, from which it goes on; taken away at the end.
        watch: see :func:`bamsearch.score.trained.train_once`.
    """
    try:
        reached = train_once(
            design, data, recipe, seed=seed, device=device, place=folder, watch=watch
        )
    except DivergedError:
        TrainingFolder(folder).remove()
        return Training(design.insertions, seed)
    return Training(
        design.insertions, seed, reached.right, reached.images, reached.curve, reached.seconds
    )


@dataclass(frozen=True)
class Worker:
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
_worker: list[Worker] = []
_training: list[Path] = []


def begin(worker: Worker, stop: Event) -> None:
    """Make this process ready to train.

    Args:
        worker: what it is told.
        stop: set when it is to end.
    """
    # Ctrl-C is for the parent, which then asks all to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    threading.Thread(target=_watch_stop, args=(stop,), daemon=True).start()
    torch.set_num_threads(worker.threads)
    _worker[:] = [worker]


def _watch_stop(stop: Event) -> None:
    """End this process when it is asked to, after a checkpoint, or when its parent is gone."""
    parent = os.getppid()
    while not stop.wait(_LOOK):
        if os.getppid() != parent:
            os._exit(1)
    # A training takes that as a request to save, and to end.
    os.kill(os.getpid(), signal.SIGTERM)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """While a training is put together; an idle process ends as its pool does."""
    if _training:
        raise KeyboardInterrupt


def work(design: Design, seed: int, folder: Path) -> Training:
    """Train a design, see :func:`trained`, in a process that is ready.

    Args:
        design: what to train.
        seed: of everything random.
        place: for checkpoints.
    """
    worker = _worker[0]
    _training[:] = [folder]
    try:
        return trained(design, _data(), worker.recipe, seed, worker.device, folder)
    finally:
        _training.clear()


@cache
def _data() -> Data:
    """The data, read once in each process."""
    worker = _worker[0]
    facts = worker.facts
    data = load_for(facts.name, worker.base, False, facts.split_seed, facts.hash, facts.value_range)
    if data.facts.hash != facts.hash:
        raise DataError(f"{facts.name} has changed since the audit began: audit again")
    return data
