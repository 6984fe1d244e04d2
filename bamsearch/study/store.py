"""The trials of a run in its two studies, as seen by one worker, and their attributes in Optuna.

An interrupted trial fails without a reason, and a copy of it waits. Both record the number of the
first, as Optuna's own retries do. A search in a single process proposes, scores and finishes its
designs in the order of those numbers, however often it is interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from bamsearch.errors import RunError
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import BaselineKind, Insertion, Run, Trial
from bamsearch.records.designs import Insertions
from bamsearch.records.formats import Format
from bamsearch.records.run_files import TRIAL
from bamsearch.records.runs import TrialState as Ended
from bamsearch.sampler.optuna_sampler import distributions, params_of
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.study.studies import baselines_name, no_sampler

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

_STORED = ("params", "macs", "memory", "ms", REASON, SEED, CURVE, EXPECTED)
_STATES: dict[TrialState, Ended] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped"}


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
    """Interrupted trials without a copy: the process that was to make it was killed too."""
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


class TrialStore:
    """The trials of a run: the search's own, and its baselines."""

    def __init__(
        self,
        storage: BaseStorage,
        run: Run,
        space: SearchSpace,
        sampler: BaseSampler,
        *,
        single_process: bool,
    ) -> None:
        self._storage = storage
        self._run = run
        self._space = space
        self._single_process = single_process
        self._costs = DesignCosts(run.summary, variant=run.variant, init=run.init)
        self._own = optuna.load_study(study_name=run.name, storage=storage, sampler=sampler)
        self._baselines = optuna.load_study(
            study_name=baselines_name(run.name), storage=storage, sampler=no_sampler()
        )
        self._ids = {
            study.study_name: storage.get_study_id_from_name(study.study_name)
            for study in (self._own, self._baselines)
        }
        self._read: dict[str, dict[int, FrozenTrial]] = {}
        self._indexed = [0, 0]
        self._by_design_seed: dict[DesignSeed, list[FrozenTrial]] = {}

    def own(self) -> list[FrozenTrial]:
        """The search's own trials, in the order of their numbers."""
        return self._trials(self._own)

    def baselines(self) -> list[FrozenTrial]:
        """The baselines, in the order of their numbers."""
        return self._trials(self._baselines)

    def ended(self, design_seed: DesignSeed) -> list[FrozenTrial]:
        """Trials with this design and seed that have ended, the search's own first."""
        # Leading trials that have ended are indexed once; later ones are searched every time.
        later = []
        for study, trials in enumerate((self.own(), self.baselines())):
            for trial in islice(trials, self._indexed[study], None):
                if not trial.state.is_finished():
                    break
                self._by_design_seed.setdefault(design_seed_of(trial), []).append(trial)
                self._indexed[study] += 1
            later += [t for t in trials[self._indexed[study] :] if t.state.is_finished()]
        ended = [
            *self._by_design_seed.get(design_seed, ()),
            *(t for t in later if design_seed_of(t) == design_seed),
        ]
        return sorted(ended, key=lambda trial: kind_of(trial) is not None)

    def get(self, trial_id: int) -> FrozenTrial:
        """A trial, from the database."""
        return self._storage.get_trial(trial_id)

    def add(
        self,
        insertions: Sites,
        encoding: Encoding | None,
        kind: BaselineKind | None,
        state: TrialState = TrialState.WAITING,
        *,
        seed: int | None = None,
    ) -> int:
        """Write a trial in one transaction: a kill never leaves half of it."""
        cost = self._costs.cost(insertions)
        attrs: dict[str, Any] = {
            "design": as_text(insertions),
            "params": cost.params,
            "macs": cost.macs,
        }
        if kind is not None:
            attrs["reference"] = kind
        if seed is not None:
            attrs[SEED] = seed
        constraints: dict[str, float] = {}
        if encoding is not None:
            for budget in self._run.budgets:
                total = self._space.total(encoding, budget.quantity)
                constraints[budget.quantity] = float(total - budget.limit)
                if budget.quantity in ("memory", "ms"):
                    attrs[budget.quantity] = total
        new = create_trial(
            state=state,
            params=params_of(self._space, encoding) if encoding is not None else {},
            distributions=distributions(self._space) if encoding is not None else {},
            user_attrs=attrs,
            constraints=constraints,
        )
        name = self._study(kind).study_name
        trial_id = self._storage.create_new_trial(self._ids[name], template_trial=new)
        cached = self._read.get(name)
        if cached is not None:
            new.number, new._trial_id = len(cached), trial_id
            cached[trial_id] = new
        return trial_id

    def set(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set the state of a trial; False if another worker has, or the trial has ended."""
        try:
            done = self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            done = False
        trial = self._cached(trial_id)
        if done and trial is not None:
            trial.state = state
            trial.values = None if values is None else list(values)
            if state == TrialState.RUNNING:
                trial.datetime_start = datetime.now()
            else:
                trial.datetime_complete = datetime.now()
        return done

    def fail(self, trial_id: int, why: str, text: object) -> bool:
        """Fail a trial, with an attribute that gives the reason; False if it has ended."""
        try:
            self._storage.set_trial_user_attr(trial_id, why, text)
        except UpdateFinishedTrialError:
            return False
        trial = self._cached(trial_id)
        if trial is not None:
            trial.set_user_attr(why, text)
        return self.set(trial_id, TrialState.FAIL)

    def set_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Set attributes of a running trial; no effect if it has ended."""
        trial = self._cached(trial_id)
        with suppress(UpdateFinishedTrialError):
            for name, value in attrs.items():
                self._storage.set_trial_user_attr(trial_id, name, value)
                if trial is not None:
                    trial.set_user_attr(name, value)

    def requeue(self, trial_id: int) -> None:
        """Requeue a trial whose scoring was interrupted; no effect if it has ended."""
        trial = self.get(trial_id)
        if self.set(trial_id, TrialState.FAIL):
            retry(self._study(kind_of(trial)), trial)
            self._read.clear()

    def requeue_stale(self) -> None:
        """Requeue the trials of dead workers."""
        for study in (self._own, self._baselines):
            if self._single_process:
                for trial in self._trials(study):
                    running = trial.state == TrialState.RUNNING
                    if running and self.set(trial._trial_id, TrialState.FAIL):
                        retry_after_death(study, trial)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    optuna.storages.fail_stale_trials(study)
            self._read.clear()
            # Two workers may do so at once; the second copy is withdrawn when it is taken.
            for trial in lost(self._trials(study)):
                retry_after_death(study, trial)
                self._read.clear()

    def heartbeat(self, trial_id: int) -> None:
        """Record a heartbeat."""
        self._storage.record_heartbeat(trial_id)  # type: ignore[attr-defined]

    def score(self, trial: FrozenTrial) -> float:
        """The score of a completed trial."""
        index = self._run.objectives.index("score") if kind_of(trial) is None else 0
        score: float = trial.values[index]
        return score

    def record(self, trial: FrozenTrial, retries: int) -> Trial:
        """The record of a trial that has ended.

        Raises:
            RunError: the stored trial is not a trial of this run.
        """
        attrs = trial.user_attrs
        complete = trial.state == TrialState.COMPLETE
        seconds = None
        if trial.datetime_start is not None and trial.datetime_complete is not None:
            seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
        content = {name: attrs[name] for name in _STORED if name in attrs} | {
            "number": trial.number,
            "design": self._run.design(as_insertions(design_key(trial))),
            "score": self.score(trial) if complete else None,
            "state": _STATES.get(trial.state, "failed"),
            "seconds": seconds,
            "retries": retries,
        }
        record = TRIAL.value(content, f"trial {trial.number} in the database")
        return record if record.ms is None else replace(record, ms=record.ms / 1e6)

    def _trials(self, study: Study) -> list[FrozenTrial]:
        """The trials of a study: from the database, or cached if this is the only process."""
        if not self._single_process:
            return study.get_trials(deepcopy=False)
        name = study.study_name
        if name not in self._read:
            self._read[name] = {t._trial_id: t for t in study.get_trials(deepcopy=False)}
        return list(self._read[name].values())

    def _cached(self, trial_id: int) -> FrozenTrial | None:
        copies = (trials[trial_id] for trials in self._read.values() if trial_id in trials)
        return next(copies, None)

    def _study(self, kind: BaselineKind | None) -> Study:
        return self._own if kind is None else self._baselines
