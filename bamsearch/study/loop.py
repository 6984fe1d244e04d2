"""The loop of a worker: takes and scores trials until all are finished."""

from __future__ import annotations

import time
from collections.abc import Callable

from bamsearch.errors import ScoreError, failure_text
from bamsearch.files import disk_error
from bamsearch.records import Run
from bamsearch.records.hints import MOST_FLOAT
from bamsearch.study.study import SearchStudy, TrialLease, TrialOutcome, Waiting
from bamsearch.training.interrupt import record_signals

Score = Callable[..., float]
"""A deterministic score of a design, or of (module, design); higher is better."""

Evaluator = Callable[[TrialLease], TrialOutcome]
"""Evaluates a trial. It raises only errors that end the search."""

_PAUSE = 0.5  # seconds
_HOPELESS = 10
"""Failures without a success after which a search stops: the score does not work at all."""


def score_trials(
    study: SearchStudy,
    evaluate: Evaluator,
    *,
    stop: Callable[[], bool] = lambda: False,
    finished: Callable[[], object] = lambda: None,
) -> bool:
    """Score trials until all are finished; an interrupted trial is requeued.

    Returns:
        True if all trials are finished, False if it was stopped.

    Raises:
        KeyboardInterrupt: on SIGINT, or on SIGTERM if that interrupts.
        ScoreError: the first ten designs all failed.
        StorageError: the database stopped answering.
    """
    failures, scored = 0, False
    with record_signals() as interrupted:
        try:
            while not stop():
                if interrupted():
                    raise KeyboardInterrupt
                lease = study.retry(study.take)
                if lease is None:
                    return True
                if isinstance(lease, Waiting):
                    time.sleep(_PAUSE)
                    continue
                with study.heartbeats(lease):
                    outcome = lease.cached or evaluate(lease)
                study.retry(study.finish, lease, outcome)
                finished()
                scored = scored or not outcome.reason
                failures += bool(outcome.reason)
                if failures == _HOPELESS and not scored and not study.retry(study.any_scored):
                    raise ScoreError(_hopeless(study.run, outcome.reason))
            return False
        finally:
            study.requeue()


def _hopeless(run: Run, reason: str) -> str:
    """The error message after ten failures without a score."""
    if run.trained:
        return (
            f"the first {_HOPELESS} trainings all failed: {reason}. "
            f"Try a single training with 'bamsearch train {run.model} --data NAME'"
        )
    return f"the first {_HOPELESS} designs all failed: {reason}. Fix the score and start again"


def score_evaluator(score: Score, run: Run) -> Evaluator:
    """Evaluates trials by a deterministic score."""

    def evaluate(lease: TrialLease) -> TrialOutcome:
        try:
            value = float(score(run.design(lease.insertions)))
        except Exception as error:  # A user's score can raise anything.
            raise_disk_error(error)
            return TrialOutcome(reason=failure_text(error))
        if not abs(value) <= MOST_FLOAT:
            return TrialOutcome(reason=f"its score is {value}")
        return TrialOutcome(value)

    return evaluate


def raise_disk_error(error: Exception) -> None:
    """Raise the OSError behind an exception, if any: a full disk is not the design's fault."""
    cause = disk_error(error)
    if cause is not None:
        raise cause
