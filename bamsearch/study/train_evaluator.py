"""Evaluates the trials of a search by training: one short training per design and seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import nn

from bamsearch.data.loading import load_recorded
from bamsearch.data.splits import Data
from bamsearch.errors import (
    DataError,
    DivergedError,
    InvalidValueError,
    MissingExtraError,
    OutputError,
    StorageError,
    TrainingError,
    failure_text,
)
from bamsearch.graph.base import Base
from bamsearch.records import Design, Insertion, Run
from bamsearch.sampler.early import FEWEST, cannot_win, expected_last
from bamsearch.sampler.training_analysis import TrainingModel
from bamsearch.score.trained import accuracies, train_once
from bamsearch.study.loop import Evaluator, raise_disk_error
from bamsearch.study.study import SearchStudy, TrialLease, TrialOutcome
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import with_bam
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe

CHECKPOINTS_FOLDER = "train"
"""The subfolder of the run's folder with the checkpoints of running trainings."""


StoppingRule = Callable[[Sequence[float]], TrialOutcome | None]
"""Maps accuracies so far to the outcome of a training to be stopped; None lets it continue."""


class _StoppedError(Exception):
    """The training cannot win."""

    def __init__(self, outcome: TrialOutcome) -> None:
        super().__init__()
        self.outcome = outcome


def data_of(run: Run) -> Data:
    """Load the data set of a run, see :func:`load_recorded`."""
    facts = run.data
    if facts is None:
        raise InvalidValueError(
            f"score {run.score} needs data: give `data=NAME`, such as `data=digits`"
        )
    return load_recorded(facts, f"run {run.name}")


def train_evaluator(
    study: SearchStudy,
    *,
    folder: Path | None,
    follow: Callable[[Design, Progress], None] | None = None,
    module: nn.Module | None = None,
    data: Data | None = None,
) -> Evaluator:
    """Make an evaluator that trains.

    Raises:
        DataError: as :func:`data_of`.
    """
    run = study.run
    images = data_of(run) if data is None else data
    base = None
    if module is not None:
        base = Base(module, run.summary.input_shape, known_sites=run.summary.sites)
    recipe = Recipe.from_dict(run.recipe or {})

    def evaluate(lease: TrialLease) -> TrialOutcome:
        seed = run.seed + (lease.seed or 0)
        path = (
            None if folder is None else folder / CHECKPOINTS_FOLDER / _name(lease.insertions, seed)
        )
        rule = study.retry(_rule, study) if lease.baseline is None else None
        design = run.design(lease.insertions)
        record_start = None if path is None else partial(_note_start, study, lease)
        watch = _watcher(design, follow, rule, record_start)
        try:
            result = train_once(
                design if base is None else with_bam(base, design, images, seed),
                images,
                recipe,
                seed=seed,
                device=run.device,
                checkpoints=path,
                watch=watch,
            )
        except _StoppedError as stopped:
            if path is not None:
                TrainingFolder(path).remove()
            return stopped.outcome
        except DivergedError as error:
            # Its advice is for the command train, which has an option for the learning rate.
            return TrialOutcome(reason=failure_text(error).partition(": start again")[0])
        except (DataError, MissingExtraError, OutputError, StorageError, TrainingError):
            # A full disk or a missing image is not the design's fault.
            raise
        except Exception as error:  # A user's network can raise anything.
            raise_disk_error(error)
            return TrialOutcome(reason=failure_text(error))
        return TrialOutcome(result.percent, curve=result.curve)

    return evaluate


def _rule(study: SearchStudy) -> StoppingRule | None:
    """The early-stopping rule from the trainings finished so far; None if they are too few."""
    finished, trainings = study.curves(), study.trainings()
    if len(finished) < FEWEST or len(trainings) < FEWEST:
        return None
    model = TrainingModel(study.feasible, trainings)
    best = float(model.mean[model.best])

    def rule(curve: Sequence[float]) -> TrialOutcome | None:
        if not cannot_win(curve, finished, best, model.noise):
            return None
        expected, _ = expected_last(curve, finished)
        return TrialOutcome(curve=tuple(curve), expected=round(expected, 6))

    return rule


def _watcher(
    design: Design,
    follow: Callable[[Design, Progress], None] | None,
    rule: StoppingRule | None,
    record_start: Callable[[Progress], None] | None,
) -> Callable[[Progress], None]:
    """A callback for every few steps; calls ``record_start`` the first time only."""
    once = [] if record_start is None else [record_start]

    def watch(progress: Progress) -> None:
        if once:
            once.pop()(progress)
        if follow is not None:
            follow(design, progress)
        if rule is not None and not progress.step:
            _end_early(rule, progress)

    return watch


def _note_start(study: SearchStudy, lease: TrialLease, progress: Progress) -> None:
    """Record the number of steps at which a training starts or resumes."""
    steps = progress.epoch * progress.steps + progress.step
    study.retry(study.record_start, lease, steps)


def _end_early(rule: StoppingRule, progress: Progress) -> None:
    """Raise _StoppedError if the rule stops the training."""
    outcome = rule(accuracies(progress.rows))
    if outcome is not None:
        raise _StoppedError(outcome)


def _name(insertions: Sequence[Insertion], seed: int) -> str:
    """The folder name of a training, short for any design."""
    text = " ".join(f"{bam.site} {bam.reduction} {bam.dilation}" for bam in insertions)
    return f"{seed}-{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
