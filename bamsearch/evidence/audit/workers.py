"""One training of an audit, and the processes that run several in parallel."""

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
from bamsearch.records.audit_files import AuditTraining
from bamsearch.score.trained import train_once
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.request import load_for

Watch = Callable[[Progress], None]

_LOOK = 0.5


def train_design(
    design: Design,
    data: Data,
    recipe: Recipe,
    seed: int,
    device: str,
    folder: Path,
    watch: Watch | None = None,
) -> AuditTraining:
    """Train a design to the end; a diverged training has no result.

    Args:
        design: the design.
        data: training and validation data.
        recipe: training recipe.
        seed: random seed.
        device: device to train on.
        folder: checkpoint folder, from which the training resumes; removed at the end.
        watch: see :func:`bamsearch.score.trained.train_once`.
    """
    try:
        reached = train_once(
            design, data, recipe, seed=seed, device=device, checkpoints=folder, watch=watch
        )
    except DivergedError:
        TrainingFolder(folder).remove()
        return AuditTraining(design.insertions, seed)
    return AuditTraining(
        design.insertions, seed, reached.right, reached.images, reached.curve, reached.seconds
    )


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a training process.

    Attributes:
        facts: facts of the data set.
        base: a design with the input that the data are loaded for.
        recipe: training recipe.
        device: device to train on.
        threads: torch threads on a CPU.
    """

    facts: DataFacts
    base: Design
    recipe: Recipe
    device: str
    threads: int


# State of a training process: its settings, and the folder of the running training.
_worker: list[WorkerSettings] = []
_training: list[Path] = []


def start_worker(worker: WorkerSettings, stop: Event) -> None:
    """Initialise this training process.

    Args:
        worker: its settings.
        stop: event that stops it.
    """
    # Ctrl-C is handled by the parent, which then stops all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    threading.Thread(target=_watch_stop, args=(stop,), daemon=True).start()
    torch.set_num_threads(worker.threads)
    _worker[:] = [worker]


def _watch_stop(stop: Event) -> None:
    """Stop this process after a checkpoint when requested, or when its parent is gone."""
    parent = os.getppid()
    while not stop.wait(_LOOK):
        if os.getppid() != parent:
            os._exit(1)
    # On SIGTERM a training saves a checkpoint and stops.
    os.kill(os.getpid(), signal.SIGTERM)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Interrupt a training during its set-up; an idle process stops with its pool."""
    if _training:
        raise KeyboardInterrupt


def train_in_worker(design: Design, seed: int, folder: Path) -> AuditTraining:
    """Train a design in an initialised process, see :func:`train_design`.

    Args:
        design: the design.
        seed: random seed.
        folder: checkpoint folder.
    """
    worker = _worker[0]
    _training[:] = [folder]
    try:
        return train_design(design, _data(), worker.recipe, seed, worker.device, folder)
    finally:
        _training.clear()


@cache
def _data() -> Data:
    """The data, read once per process."""
    worker = _worker[0]
    facts = worker.facts
    data = load_for(facts.name, worker.base, False, facts.split_seed, facts.hash, facts.value_range)
    if data.facts.hash != facts.hash:
        raise DataError(f"{facts.name} has changed since the audit started: audit again")
    return data
