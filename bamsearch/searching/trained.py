"""How a search trains: each trial is one short training of a design, with a seed of its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.errors import (
    DataError,
    DivergedError,
    InvalidValueError,
    MissingExtraError,
    OutputError,
    StorageError,
    TrainingError,
)
from bamsearch.records import Design, Insertion, Run
from bamsearch.score.trained import accuracies, train_once
from bamsearch.searching.early import FEWEST, cannot_win, expected_last
from bamsearch.searching.loop import Measure, failure, raise_disk_error
from bamsearch.searching.storage import patiently
from bamsearch.searching.study import Claim, Scored, SearchStudy
from bamsearch.searching.training_model import TrainingModel
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe

TRAININGS = "train"
"""The folder of trainings at work, in that of the run: each has a checkpoint there."""


Rule = Callable[[Sequence[float]], Scored | None]
"""Accuracies so far to what comes of a training that is stopped there; None: it goes on."""


class _StoppedError(Exception):
    """It cannot win."""

    def __init__(self, found: Scored) -> None:
        super().__init__()
        self.found = found


def data_of(run: Run) -> Data:
    """The data of a run, as they were when it was started.

    Raises:
        DataError: not there, or other data.
    """
    facts = run.data
    if facts is None:
        raise InvalidValueError(
            f"score {run.score} needs data: give --data NAME, such as --data digits"
        )
    data = load_data(
        facts.name,
        input_size=(facts.input_shape[1], facts.input_shape[2]),
        split_seed=facts.split_seed,
        channels=facts.input_shape[0],
        recorded=facts.hash,
        value_range=facts.value_range,
    )
    if data.facts.hash != facts.hash:
        raise DataError(
            f"{facts.name} is not what run {run.name} began with (hash {data.facts.hash}, was "
            f"{facts.hash}): bring that back, or start a new run"
        )
    return data


def trainer(
    run: Run,
    study: SearchStudy,
    *,
    folder: Path | None,
    shown: str,
    follow: Callable[[Design, Progress], None] | None = None,
) -> Measure:
    """Carry trials out by training.

    Args:
        run: with score ``train``.
        study: of the run: what is finished says when to stop a training early.
        folder: of the run, for checkpoints; None, as on another machine, keeps none.
        shown: the database's URL for errors.
        follow: called with a design and where its training is, after every few steps.

    Raises:
        DataError: as :func:`data_of`.
    """
    data = data_of(run)
    recipe = Recipe.from_dict(run.recipe or {})

    def measure(claim: Claim) -> Scored:
        seed = run.seed + (claim.seed or 0)
        place = None if folder is None else folder / TRAININGS / _name(claim.insertions, seed)
        rule = patiently(partial(_rule, study), shown) if claim.reference is None else None
        design = run.design(claim.insertions)
        began = None if place is None else partial(_note_start, study, claim, shown)
        watch = _watcher(design, follow, rule, began)
        try:
            found = train_once(
                design,
                data,
                recipe,
                seed=seed,
                device=run.device,
                place=place,
                watch=watch,
            )
        except _StoppedError as stopped:
            if place is not None:
                TrainingFolder(place).remove()
            return stopped.found
        except DivergedError as error:
            # What it advises is for train, which has an option for the rate.
            return Scored(reason=failure(error).partition(": start anew")[0])
        except (DataError, MissingExtraError, OutputError, StorageError, TrainingError):
            # A full disk, or an image that is gone, says nothing of the design.
            raise
        except Exception as error:  # A network of the user's own can raise anything at all.
            raise_disk_error(error)
            return Scored(reason=failure(error))
        return Scored(found.per_cent, curve=found.curve)

    return measure


def _rule(study: SearchStudy) -> Rule | None:
    """When a training is stopped early, by what is finished now; None where too little is."""
    finished, trainings = study.curves(), study.trainings()
    if len(finished) < FEWEST or len(trainings) < FEWEST:
        return None
    model = TrainingModel(study.feasible, trainings)
    best = float(model.mean[model.best])

    def rule(curve: Sequence[float]) -> Scored | None:
        if not cannot_win(curve, finished, best, model.noise):
            return None
        expected, _ = expected_last(curve, finished)
        return Scored(curve=tuple(curve), expected=round(expected, 6))

    return rule


def _watcher(
    design: Design,
    follow: Callable[[Design, Progress], None] | None,
    rule: Rule | None,
    began: Callable[[Progress], None] | None,
) -> Callable[[Progress], None]:
    """What is called after every few steps of a training; ``began`` only the first time."""
    once = [] if began is None else [began]

    def watch(progress: Progress) -> None:
        if once:
            once.pop()(progress)
        if follow is not None:
            follow(design, progress)
        if rule is not None and not progress.step:
            _end_early(rule, progress)

    return watch


def _note_start(study: SearchStudy, claim: Claim, shown: str, progress: Progress) -> None:
    """Note how many steps a training has behind it."""
    steps = progress.epoch * progress.steps + progress.step
    patiently(partial(study.began, claim, steps), shown)


def _end_early(rule: Rule, progress: Progress) -> None:
    """Raise _StoppedError where the training is to end."""
    found = rule(accuracies(progress.rows))
    if found is not None:
        raise _StoppedError(found)


def _name(insertions: Sequence[Insertion], seed: int) -> str:
    """The folder of a training: its name is short whatever the design."""
    text = " ".join(f"{one.site} {one.reduction} {one.dilation}" for one in insertions)
    return f"{seed}-{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
