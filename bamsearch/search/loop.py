"""A worker: takes trials and scores them until none is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from bamsearch.errors import BamsearchError, ScoreError
from bamsearch.records import Design
from bamsearch.search.storage import patiently
from bamsearch.search.study import Busy, Claim, SearchStudy

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
    finished: Callable[[], None] = lambda: None,
) -> bool:
    """Score trials until none is left.

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
    failures, successes = 0, 0
    while not stop():
        claim = patiently(study.take, shown)
        if claim is None:
            return True
        if isinstance(claim, Busy):
            time.sleep(_PAUSE)
            continue
        with study.at_work(claim):
            value, reason = _scored(study, score, claim)
        if value is not None:
            found = value
            patiently(lambda: study.finish(claim, found), shown)  # noqa: B023
            successes += 1
        else:
            patiently(lambda: study.fail(claim, reason), shown)  # noqa: B023
            failures += 1
        finished()
        if failures == _HOPELESS and not successes:
            raise ScoreError(
                f"the first {_HOPELESS} designs all failed: {reason}. Mend the score, and start anew"
            )
    return False


def _scored(study: SearchStudy, score: Score, claim: Claim) -> tuple[float | None, str]:
    """The design's score, or why it has none."""
    if claim.known is not None:
        return claim.known, ""
    try:
        value = float(score(study.run.design(claim.insertions)))
    except Exception as error:  # A score of the user's own can raise anything at all.
        said = str(error) if isinstance(error, BamsearchError) else f"{type(error).__name__}: {error}"
        return None, said.splitlines()[0]
    if not math.isfinite(value):
        return None, f"its score is {value}"
    return value, ""
