"""A worker: takes trials and scores them until none is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from bamsearch.errors import BamsearchError, ScoreError
from bamsearch.records import Design
from bamsearch.searching.storage import patiently
from bamsearch.searching.study import Busy, Claim, SearchStudy

Score = Callable[[Design], float]

_PAUSE = 0.5
_HOPELESS = 10
"""After so many failures and no success a search stops: the score does not work at all."""


def work(
    study: SearchStudy,
    score: Score,
    *,
    shown: str,
    stop: Callable[[], bool] = lambda: False,
    finished: Callable[[], object] = lambda: None,
) -> bool:
    """Score trials until none is left; one that is interrupted waits again.

    Args:
        study: the run's studies.
        score: higher is better; an exception is a failed trial.
        shown: the database's URL for errors, without a password.
        stop: asked between trials.
        finished: called after each trial.

    Returns:
        True if none is left, False if it was stopped.

    Raises:
        ScoreError: the first ten designs all failed.
        StorageError: the database does not answer any more.
    """
    failures, scored = 0, False
    try:
        while not stop():
            claim = patiently(study.take, shown)
            if claim is None:
                return True
            if isinstance(claim, Busy):
                time.sleep(_PAUSE)
                continue
            with study.at_work(claim):
                value, reason = _scored(study, score, claim)
            patiently(partial(_store, study, claim, value, reason), shown)
            finished()
            scored = scored or value is not None
            failures += value is None
            if failures == _HOPELESS and not scored and not patiently(study.any_scored, shown):
                raise ScoreError(
                    f"the first {_HOPELESS} designs all failed: {reason}. "
                    "Mend the score, and start anew"
                )
        return False
    finally:
        study.give_back()


def _store(study: SearchStudy, claim: Claim, value: float | None, reason: str) -> None:
    if value is None:
        study.fail(claim, reason)
    else:
        study.finish(claim, value)


def _scored(study: SearchStudy, score: Score, claim: Claim) -> tuple[float | None, str]:
    """The design's score, or why it has none."""
    if claim.known is not None or claim.failed is not None:
        return claim.known, claim.failed or ""
    try:
        value = float(score(study.run.design(claim.insertions)))
    except Exception as error:  # A score of the user's own can raise anything at all.
        name = type(error).__name__
        said = str(error) if isinstance(error, BamsearchError) else f"{name}: {error}"
        return None, (said.splitlines() or [name])[0]
    if not math.isfinite(value):
        return None, f"its score is {value}"
    return value, ""
