"""The attributes of a run's trials in Optuna, and retries of interrupted trials.

An interrupted trial fails without a reason, and a copy of it waits. Both record the number of the
first, as Optuna's own retries do. A search in a single process proposes, scores and finishes its
designs in the order of those numbers, however often it is interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from bamsearch.errors import RunError
from bamsearch.records import BaselineKind, Insertion
from bamsearch.records.designs import Insertions
from bamsearch.records.formats import Format

MOST_RETRIES = 3
"""Most retries of a trial whose worker died: the design itself may kill its worker."""

WITHDRAWN = "withdrawn"
"""Marks a failed trial whose design another trial has, or that was one too many."""

REASON = "reason"
"""Reason of a failure; a trial that failed without a reason was interrupted."""

SEED = "seed"
"""Seed of a trial's training; missing if the score is deterministic."""

CURVE = "curve"
"""Validation accuracy of a trial's training after each epoch, in percent."""

EXPECTED = "expected"
"""Predicted final accuracy of a training that was stopped early."""

DEATHS = "deaths"
"""Number of deaths of its workers since its training last progressed."""

BEGAN = "began"
"""Training steps finished when a worker last took the trial."""

Sites = tuple[Insertion, ...]

DesignSeed = tuple[str, int | None]
"""A design as text, and the seed of its training: trials with equal work have equal scores."""

_INSERTIONS: Format[Sites] = Format(
    Insertions, "list of insertions", RunError, "search again with another `name`", indent=None
)

# Optuna's name for it.
_FIRST = "failed_trial"


def first_number(trial: FrozenTrial) -> int:
    """The number that the trial had before its first interruption."""
    number: int = trial.system_attrs.get(_FIRST, trial.number)
    return number


def kind_of(trial: FrozenTrial) -> BaselineKind | None:
    """The baseline kind of the trial; None for the search's own."""
    kind: BaselineKind | None = trial.user_attrs.get("reference")
    return kind


def design_key(trial: FrozenTrial) -> str:
    """The design as stored: equal designs have equal text."""
    design: str = trial.user_attrs["design"]
    return design


def seed_of(trial: FrozenTrial) -> int | None:
    """The seed of the trial's training; None if the score is deterministic."""
    seed: int | None = trial.user_attrs.get(SEED)
    return seed


def design_seed_of(trial: FrozenTrial) -> DesignSeed:
    """The design and the seed of the trial."""
    return design_key(trial), seed_of(trial)


def as_text(insertions: Sites) -> str:
    """The text under which insertions are stored."""
    return _INSERTIONS.text(insertions).strip()


def as_insertions(design: str) -> Sites:
    """The insertions that :func:`as_text` wrote."""
    return _INSERTIONS.parse(design, "a trial in the database")


def counting(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: scored, failed for a reason, running or waiting."""
    return [t for t in trials if t.state != TrialState.FAIL or REASON in t.user_attrs]


def lost(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Interrupted trials without a copy: the process that was to make it was killed too.

    Args:
        trials: all trials of a study, in the order of their numbers.
    """
    last = {first_number(trial): trial for trial in trials}
    return [
        trial
        for trial in last.values()
        if trial.state == TrialState.FAIL and not trial.user_attrs.keys() & {REASON, WITHDRAWN}
    ]


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a copy of an interrupted trial, which has failed."""
    _add_copy(study, trial, trial.user_attrs, TrialState.WAITING)


def retry_after_death(study: Study, trial: FrozenTrial) -> None:
    """The same for a trial whose worker died; after :data:`MOST_RETRIES` copies it fails."""
    deaths = trial.user_attrs.get(DEATHS, 0) + 1
    attrs = trial.user_attrs | {DEATHS: deaths}
    if deaths <= MOST_RETRIES:
        _add_copy(study, trial, attrs, TrialState.WAITING)
    else:
        reason = f"its worker died {deaths} times"
        _add_copy(study, trial, attrs | {REASON: reason}, TrialState.FAIL)


def _add_copy(study: Study, trial: FrozenTrial, attrs: dict[str, Any], state: TrialState) -> None:
    if REASON in trial.user_attrs:
        # The score had failed before the worker died: the trial is finished.
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
