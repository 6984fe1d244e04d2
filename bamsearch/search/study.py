"""The trials of a run in Optuna: who takes the next one, and what is known of all.

A run is two Optuna studies in one database: ``NAME`` has the search's own trials, and
``NAME (references)`` the designs that it is compared with. Any number of workers share them:

- a proposal is stored as a waiting trial, then taken by setting it running, which the database
  lets only one worker do; a sign of life is stored before, so that no trial is ever stuck;
- whoever takes a trial looks for its design among all others: what is there already, or is one too
  many, is withdrawn. Every worker writes before it reads, so that two can withdraw the same
  design, but never score it twice.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from bamsearch.errors import RunError
from bamsearch.profile.costs import DesignCosts
from bamsearch.records import Insertion, ReferenceKind, Run, Trial
from bamsearch.search.choices import Picks
from bamsearch.search.feasible import Feasible
from bamsearch.search.samplers import (
    FeasibleSampler,
    Proposer,
    distributions,
    objective_values,
    params_of,
    picks_of,
)
from bamsearch.search.storage import retry, retry_after_death

_RUN = "bamsearch"
_STALE_CHECK = 2.0
_FINISHED = (TrialState.COMPLETE, TrialState.FAIL)

Sites = tuple[Insertion, ...]
Key = tuple[ReferenceKind | None, int]
"""What a finished trial is compared as, and its number there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this worker scores.

    Attributes:
        trial_id: Optuna's, unique in the database.
        insertions: the design.
        reference: what it is compared as; None for the search's own.
        known: its score, where the same design was scored before.
    """

    trial_id: int
    insertions: Sites
    reference: ReferenceKind | None = None
    known: float | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing to take now, but others are at work: ask again."""


class SearchStudy:
    """A run's studies, as one worker sees them.

    Args:
        storage: the database.
        run: what was asked for.
        feasible: the designs that fit.
        proposer: what decides on the next design.
        alone: whether no other process can be at work; signs of life are then left out.
    """

    def __init__(
        self,
        storage: BaseStorage,
        run: Run,
        feasible: Feasible,
        proposer: Proposer,
        *,
        alone: bool,
    ) -> None:
        self.run = run
        self.space = feasible.space
        self._feasible = feasible
        self._alone = alone
        self._costs = DesignCosts(run.summary, variant=run.variant, init=run.init)
        self._sampler = FeasibleSampler(proposer, self.space, run.objectives)
        self._storage = storage
        self._main = optuna.load_study(study_name=run.name, storage=storage, sampler=self._sampler)
        self._references = optuna.load_study(
            study_name=references_name(run.name), storage=storage, sampler=_none()
        )
        self._ids = {
            study.study_name: storage.get_study_id_from_name(study.study_name)
            for study in (self._main, self._references)
        }
        self._checked = float("-inf")

    def prepare(
        self, first: Sequence[Picks], references: Iterable[tuple[ReferenceKind, Sites]]
    ) -> None:
        """Queue what is not there yet, and take back what a process that is gone left running.

        Args:
            first: designs that are tried before any proposal, all feasible.
            references: what the search is compared with, in the order in which it is scored.
        """
        if self._alone:
            for study in (self._main, self._references):
                for trial in _trials(study, TrialState.RUNNING):
                    if self._end(trial._trial_id):
                        retry_after_death(study, trial)
        if not _trials(self._main):
            for picks in first:
                self._store(self._main, self.space.insertions(picks), picks, None)
        there = {(_kind(trial), _design(trial)) for trial in _trials(self._references)}
        for kind, insertions in references:
            if (kind, _text(insertions)) not in there:
                self._store(self._references, insertions, None, kind)

    def take(self) -> Claim | Busy | None:
        """The next trial to score; None when all is done."""
        self._fail_stale()
        references = _trials(self._references)
        claim = self._take_reference(references, ("base",))
        if claim is None:
            claim = self._take_own(references)
        if claim is None:
            claim = self._take_reference(references, ("paper", "largest", "random"))
        if claim is not None:
            return claim
        unfinished = (TrialState.RUNNING, TrialState.WAITING)
        left = [*_trials(self._main, *unfinished), *_trials(self._references, *unfinished)]
        return Busy() if left else None

    @contextmanager
    def at_work(self, claim: Claim) -> Iterator[None]:
        """Give signs of life while the block scores; if it is interrupted, the trial waits again."""
        stop = Event()

        def beat() -> None:
            while not stop.wait(self.run.heartbeat):
                self._beat(claim.trial_id)

        thread = None if self._alone else Thread(target=beat, daemon=True)
        if thread is not None:
            thread.start()
        try:
            yield
        except BaseException:
            study = self._main if claim.reference is None else self._references
            trial = self._storage.get_trial(claim.trial_id)
            if self._end(claim.trial_id):
                retry(study, trial)
            raise
        finally:
            stop.set()
            if thread is not None:
                thread.join()

    def finish(self, claim: Claim, score: float) -> bool:
        """Store a score; False if the trial was taken from this worker, as one thought dead."""
        values = [score]
        if claim.reference is None:
            picks = self.space.picks(claim.insertions)
            if picks is None:
                raise RunError(f"{claim.insertions} is not in space {self.space.name}")
            values = objective_values(self._feasible, self.run.objectives, picks, score)
        return self._end(claim.trial_id, TrialState.COMPLETE, values)

    def fail(self, claim: Claim, reason: str) -> bool:
        """Store why a design has no score; False as for :meth:`finish`."""
        try:
            self._storage.set_trial_user_attr(claim.trial_id, "reason", reason)
        except UpdateFinishedTrialError:
            return False
        return self._end(claim.trial_id)

    def finished(self, known: AbstractSet[Key] = frozenset()) -> list[tuple[Key, Trial]]:
        """(key, trial) of all that have a score or failed and are not known, oldest first."""
        found = []
        for study in (self._main, self._references):
            for trial in _trials(study, *_FINISHED):
                key = (_kind(trial), trial.number)
                counts = trial.state == TrialState.COMPLETE or "reason" in trial.user_attrs
                if counts and key not in known:
                    found.append((trial.datetime_complete, key, self._record(trial)))
        found.sort(key=lambda item: (item[0], str(item[1])))
        return [(key, trial) for _, key, trial in found]

    def _take_own(self, references: Sequence[FrozenTrial]) -> Claim | None:
        """A waiting trial of the search's own, or a new one; None if there is no other."""
        while True:
            trials = _trials(self._main)
            for trial in trials:
                if trial.state == TrialState.WAITING:
                    claim = self._take(trial, [*trials, *references])
                    if claim is not None:
                        return claim
            if len(_counting(trials)) >= self.run.trials:
                return None
            picks = self._propose(references)
            if picks is None:
                return None
            claim = self._new(picks, [*trials, *references])
            if claim is not None:
                return claim

    def _propose(self, references: Sequence[FrozenTrial]) -> Picks | None:
        nothing = self.space.picks(())
        self._sampler.also = [
            (nothing, trial.values[0])
            for trial in references
            if nothing is not None
            and trial.state == TrialState.COMPLETE
            and _kind(trial) == "base"
        ]
        new = create_trial(state=TrialState.WAITING)
        params = self._sampler.sample_relative(self._main, new, distributions(self.space))
        return picks_of(self.space, params) if params else None

    def _new(self, picks: Picks, all_trials: Sequence[FrozenTrial]) -> Claim | None:
        insertions = self.space.insertions(picks)
        state = TrialState.RUNNING if self._alone else TrialState.WAITING
        trial_id = self._store(self._main, insertions, picks, None, state)
        if self._alone:
            return Claim(trial_id, insertions, None, self._known(insertions, all_trials))
        return self._take(self._storage.get_trial(trial_id), all_trials)

    def _take(self, trial: FrozenTrial, all_trials: Sequence[FrozenTrial]) -> Claim | None:
        """Make a waiting trial this worker's; None if another was quicker or it is withdrawn."""
        trial_id = trial._trial_id
        if not self._alone:
            self._beat(trial_id)
        try:
            if not self._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return None
        except UpdateFinishedTrialError:
            return None
        kind = _kind(trial)
        if kind is None and not self._alone and self._superfluous(trial):
            self._end(trial_id)
            return None
        insertions = tuple(Insertion(*one) for one in json.loads(_design(trial)))
        return Claim(trial_id, insertions, kind, self._known(insertions, all_trials))

    def _superfluous(self, trial: FrozenTrial) -> bool:
        """Whether another trial has the same design, or this one is one too many."""
        counting = _counting(_trials(self._main))
        others = [t for t in counting if t.number != trial.number]
        taken = any(
            t.state != TrialState.WAITING and _design(t) == _design(trial) for t in others
        )
        return taken or sum(t.number < trial.number for t in others) >= self.run.trials

    def _take_reference(
        self, references: Sequence[FrozenTrial], kinds: Sequence[ReferenceKind]
    ) -> Claim | None:
        waiting = [t for t in references if t.state == TrialState.WAITING and _kind(t) in kinds]
        trials = [*_trials(self._main), *references] if waiting else []
        for trial in waiting:
            claim = self._take(trial, trials)
            if claim is not None:
                return claim
        return None

    def _known(self, insertions: Sites, trials: Sequence[FrozenTrial]) -> float | None:
        """The design's score, if any trial has one."""
        design = _text(insertions)
        for trial in trials:
            if trial.state == TrialState.COMPLETE and _design(trial) == design:
                return self._score(trial)
        return None

    def _score(self, trial: FrozenTrial) -> float:
        score: float = trial.values[
            self.run.objectives.index("score") if _kind(trial) is None else 0
        ]
        return score

    def _store(
        self,
        study: Study,
        insertions: Sites,
        picks: Picks | None,
        kind: ReferenceKind | None,
        state: TrialState = TrialState.WAITING,
    ) -> int:
        """Write a whole trial at once: a kill never leaves half of one."""
        cost = self._costs.cost(insertions)
        attrs: dict[str, Any] = {
            "design": _text(insertions),
            "params": cost.params,
            "macs": cost.macs,
        }
        if kind is not None:
            attrs["reference"] = kind
        constraints = {}
        if picks is not None:
            for budget in self.run.budgets:
                total = self.space.total(picks, budget.quantity)
                constraints[budget.quantity] = float(total - budget.limit)
                if budget.quantity in ("memory", "ms"):
                    attrs[budget.quantity] = total
        new = create_trial(
            state=state,
            params=params_of(self.space, picks) if picks is not None else {},
            distributions=distributions(self.space) if picks is not None else {},
            user_attrs=attrs,
            constraints=constraints,
        )
        return self._storage.create_new_trial(self._ids[study.study_name], template_trial=new)

    def _end(
        self,
        trial_id: int,
        state: TrialState = TrialState.FAIL,
        values: Sequence[float] | None = None,
    ) -> bool:
        """End a trial; False if it has ended already."""
        try:
            return self._storage.set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            return False

    def _beat(self, trial_id: int) -> None:
        self._storage.record_heartbeat(trial_id)  # type: ignore[attr-defined]

    def _fail_stale(self) -> None:
        """Let the trials of dead workers wait again."""
        now = time.monotonic()
        if self._alone or now - self._checked < _STALE_CHECK:
            return
        self._checked = now
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            for study in (self._main, self._references):
                optuna.storages.fail_stale_trials(study)

    def _record(self, trial: FrozenTrial) -> Trial:
        attrs = trial.user_attrs
        complete = trial.state == TrialState.COMPLETE
        seconds = None
        if trial.datetime_start is not None and trial.datetime_complete is not None:
            seconds = (trial.datetime_complete - trial.datetime_start).total_seconds()
        return Trial(
            number=trial.number,
            design=self.run.design([Insertion(*one) for one in json.loads(_design(trial))]),
            score=self._score(trial) if complete else None,
            params=attrs["params"],
            macs=attrs["macs"],
            state="complete" if complete else "failed",
            memory=attrs.get("memory"),
            ms=attrs["ms"] / 1e6 if "ms" in attrs else None,
            reason=attrs.get("reason"),
            seconds=seconds,
        )


def create_studies(storage: BaseStorage, run: Run) -> None:
    """Make a run's studies.

    Raises:
        RunError: there is a study of this name.
    """
    directions = [
        StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
        for objective in run.objectives
    ]
    try:
        main = optuna.create_study(
            storage=storage, study_name=run.name, directions=directions, sampler=_none()
        )
        main.set_metric_names(list(run.objectives))
        optuna.create_study(
            storage=storage,
            study_name=references_name(run.name),
            direction=StudyDirection.MAXIMIZE,
            sampler=_none(),
        )
        # Last: a study without it was not made whole.
        main.set_user_attr(_RUN, run.to_json())
    except DuplicatedStudyError as error:
        raise RunError(
            f"there is a run {run.name} in this database: go on with --resume {run.name}, "
            "or choose another --name"
        ) from error


def store_run(storage: BaseStorage, run: Run) -> None:
    """Write what a run is asked for anew, as when more trials are wanted."""
    optuna.load_study(study_name=run.name, storage=storage, sampler=_none()).set_user_attr(
        _RUN, run.to_json()
    )


def stored_run(storage: BaseStorage, name: str) -> Run:
    """What a run in a database was asked for.

    Raises:
        RunError: no run of this name, not readable, or made by a newer bamsearch.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage, sampler=_none())
    except KeyError as error:
        names = [s.study_name for s in storage.get_all_studies() if _RUN in s.user_attrs]
        there = f"there are {', '.join(names)}" if names else "there is none yet"
        raise RunError(f"no run {name} in this database: {there}") from error
    text = study.user_attrs.get(_RUN)
    if text is None:
        raise RunError(f"study {name} in this database is no run of bamsearch: choose another name")
    return Run.from_json(text, f"run {name}")


def references_name(name: str) -> str:
    """The study that has a run's references."""
    return f"{name} (references)"


def _none() -> optuna.samplers.BaseSampler:
    # Named, as Optuna's default changes between versions; it proposes nothing.
    return optuna.samplers.RandomSampler(seed=0)


def _trials(study: Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=states or None)


def _counting(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that count as trials: scored, failed for a reason, running or waiting."""
    return [t for t in trials if t.state != TrialState.FAIL or "reason" in t.user_attrs]


def _kind(trial: FrozenTrial) -> ReferenceKind | None:
    kind: ReferenceKind | None = trial.user_attrs.get("reference")
    return kind


def _design(trial: FrozenTrial) -> str:
    """The design as it is stored: equal text is an equal design."""
    design: str = trial.user_attrs["design"]
    return design


def _text(insertions: Sites) -> str:
    return json.dumps([[i.site, i.reduction, i.dilation] for i in insertions])
