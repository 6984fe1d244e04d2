"""A worker: takes trials and scores them until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from bamsearch.errors import BamsearchError, ScoreError
from bamsearch.records import Design, Run
from bamsearch.records.disk import disk_error
from bamsearch.records.hints import MOST_FLOAT
from bamsearch.searching.storage import patiently
from bamsearch.searching.study import Busy, Claim, Scored, SearchStudy
from bamsearch.training.interrupt import remembered

Score = Callable[[Design], float]
"""The score of a design, the same each time: higher is better."""

Measure = Callable[[Claim], Scored]
"""What carries a trial out. It raises nothing but what ends the search."""

_PAUSE = 0.5
_HOPELESS = 10
"""After so many failures and no success a search stops: the score does not work at all."""


def work(
    study: SearchStudy,
    measure: Measure,
    *,
    shown: str,
    stop: Callable[[], bool] = lambda: False,
    finished: Callable[[], object] = lambda: None,
) -> bool:
    """Score trials until none is left; one that is interrupted waits again.

    Args:
        study: the run's studies.
        measure: carries a trial out.
        shown: the database's URL for errors, without a password.
        stop: asked between trials.
        finished: called after each trial.

    Returns:
        True if none is left, False if it was stopped.

    Raises:
        KeyboardInterrupt: SIGINT came, or SIGTERM where that is to interrupt.
        ScoreError: the first ten designs all failed.
        StorageError: the database does not answer any more.
    """
    failures, scored = 0, False
    with remembered() as interrupted:
        try:
            while not stop():
                if interrupted():
                    raise KeyboardInterrupt
                claim = patiently(study.take, shown)
                if claim is None:
                    return True
                if isinstance(claim, Busy):
                    time.sleep(_PAUSE)
                    continue
                with study.at_work(claim):
                    found = claim.known or measure(claim)
                patiently(partial(study.finish, claim, found), shown)
                finished()
                scored = scored or not found.reason
                failures += bool(found.reason)
                if failures == _HOPELESS and not scored and not patiently(study.any_scored, shown):
                    raise ScoreError(_hopeless(study.run, found.reason))
            return False
        finally:
            study.give_back()


def _hopeless(run: Run, reason: str) -> str:
    """What to say where nothing has a score after ten failures."""
    if run.trained:
        return (
            f"the first {_HOPELESS} trainings all failed: {reason}. "
            f"'bamsearch train {run.model} --data NAME' shows one alone"
        )
    return f"the first {_HOPELESS} designs all failed: {reason}. Mend the score, and start anew"


def plain(score: Score, run: Run) -> Measure:
    """A score that is the same each time, as it carries out trials."""

    def measure(claim: Claim) -> Scored:
        try:
            value = float(score(run.design(claim.insertions)))
        except Exception as error:  # A score of the user's own can raise anything at all.
            raise_disk_error(error)
            return Scored(reason=failure(error))
        if not abs(value) <= MOST_FLOAT:
            return Scored(reason=f"its score is {value}")
        return Scored(value)

    return measure


def raise_disk_error(error: Exception) -> None:
    """Raise the OSError behind an exception, if any: a full disk says nothing of a design."""
    cause = disk_error(error)
    if cause is not None:
        raise cause


def failure(error: Exception) -> str:
    """Why a trial has failed, in a line."""
    name = type(error).__name__
    said = str(error) if isinstance(error, BamsearchError) else f"{name}: {error}"
    return (said.splitlines() or [name])[0]
