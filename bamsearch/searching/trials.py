"""What a run's trials carry in Optuna, and what becomes of one that is interrupted.

A trial that is interrupted fails without a reason, and a copy of it waits. Both have the number of
the first, as Optuna's own retries have: in the order of those numbers, a search that one process
carries out proposes, scores and finishes its designs, however often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from bamsearch.errors import RunError
from bamsearch.records import Insertion, ReferenceKind
from bamsearch.records.codec import Format
from bamsearch.records.designs import Insertions

MOST_RETRIES = 3
"""How often a trial is tried again whose worker died; a design may be what kills it."""

WITHDRAWN = "withdrawn"
"""Marks a trial that failed since there is another one of its design, or enough without it."""

REASON = "reason"
"""Why a trial has no score; one that failed without was interrupted."""

SEED = "seed"
"""Of a trial's training; not there where a score is the same each time."""

CURVE = "curve"
"""Validation accuracies of a trial's training, an epoch each, in per cent."""

EXPECTED = "expected"
"""Of a training that was stopped early: what its last epoch would have reached."""

DEATHS = "deaths"
"""How often its worker died, since its training last got further."""

BEGAN = "began"
"""Training steps that it had behind it when a worker last took it up."""

Sites = tuple[Insertion, ...]

Work = tuple[str, int | None]
"""A design as text, and the seed of its training: of trials with equal work, one is enough."""
_INSERTIONS: Format[Sites] = Format(
    Insertions, "list of insertions", RunError, "search again with another --name", indent=None
)

# Optuna's name for it.
_FIRST = "failed_trial"


def first_number(trial: FrozenTrial) -> int:
    """The number that the trial had before it was ever interrupted."""
    number: int = trial.system_attrs.get(_FIRST, trial.number)
    return number


def kind_of(trial: FrozenTrial) -> ReferenceKind | None:
    """What a search is compared with by this trial; None for the search's own."""
    kind: ReferenceKind | None = trial.user_attrs.get("reference")
    return kind


def design_of(trial: FrozenTrial) -> str:
    """The design as it is stored: equal text is an equal design."""
    design: str = trial.user_attrs["design"]
    return design


def seed_of(trial: FrozenTrial) -> int | None:
    """The seed of its training; None where its score needs none."""
    seed: int | None = trial.user_attrs.get(SEED)
    return seed


def work_of(trial: FrozenTrial) -> Work:
    """What the trial computes."""
    return design_of(trial), seed_of(trial)


def as_text(insertions: Sites) -> str:
    """Insertions as they are stored."""
    return _INSERTIONS.text(insertions).strip()


def as_insertions(design: str) -> Sites:
    """What :func:`as_text` wrote."""
    return _INSERTIONS.parse(design, "a trial in the database")


def counting(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that count as trials: scored, failed for a reason, running or waiting."""
    return [t for t in trials if t.state != TrialState.FAIL or REASON in t.user_attrs]


def lost(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that were interrupted and have no copy: who was to make it was killed too.

    Args:
        trials: of a study, in the order of their numbers.
    """
    last = {first_number(trial): trial for trial in trials}
    return [
        trial
        for trial in last.values()
        if trial.state == TrialState.FAIL and not trial.user_attrs.keys() & {REASON, WITHDRAWN}
    ]


def retry(study: Study, trial: FrozenTrial) -> None:
    """Let a trial that was interrupted, and has failed, wait again."""
    _again(study, trial, trial.user_attrs, TrialState.WAITING)


def retry_after_death(study: Study, trial: FrozenTrial) -> None:
    """The same for a trial whose worker died; but not for ever, as the design may be why."""
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    attrs = trial.user_attrs | {DEATHS: deaths}
    if deaths <= MOST_RETRIES:
        _again(study, trial, attrs, TrialState.WAITING)
    else:
        reason = f"the process that scored it died, {deaths} times"
        _again(study, trial, attrs | {REASON: reason}, TrialState.FAIL)


def _again(study: Study, trial: FrozenTrial, attrs: dict[str, Any], state: TrialState) -> None:
    if REASON in trial.user_attrs:
        # Its score had failed, and only then its worker.
        return
    study.add_trial(
        create_trial(
            state=state,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attrs,
            system_attrs=trial.system_attrs | {_FIRST: first_number(trial)},
        )
    )
