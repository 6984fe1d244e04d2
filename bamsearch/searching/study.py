"""The trials of a run in Optuna: who takes the next one, and what is known of all.

Any number of workers share a run's studies:

- a proposal is stored as a waiting trial, then taken by setting it running, which the database
  lets only one worker do; a sign of life is stored before, so that no trial is ever stuck;
- whoever takes a trial looks for its design among all others: where an earlier trial has it, or
  there are enough without it, it is withdrawn. Every trial is stored before it is taken, so that of
  several with one design the first stays;
- a worker that is interrupted lets its trial wait again; of one that is killed, another does so
  when no sign of life has come for a while.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import RunError
from bamsearch.records import ReferenceKind, Run, Trial
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.params import objective_values
from bamsearch.searching.proposers import Proposer
from bamsearch.searching.samplers import FeasibleSampler
from bamsearch.searching.storage import NO_ANSWER
from bamsearch.searching.store import TrialStore
from bamsearch.searching.trials import (
    REASON,
    WITHDRAWN,
    Sites,
    as_insertions,
    as_text,
    counting,
    design_of,
    first_number,
    kind_of,
)

_STALE_CHECK = 2.0
_JOIN = 1.0

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
        failed: why it has none, where the same design failed before.
    """

    trial_id: int
    insertions: Sites
    reference: ReferenceKind | None = None
    known: float | None = None
    failed: str | None = None


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
        self._sampler = FeasibleSampler(proposer, self.space, run.objectives)
        self._store = TrialStore(storage, run, self.space, self._sampler, alone=alone)
        self._checked = float("-inf")
        self._held: tuple[ReferenceKind | None, int] | None = None

    def prepare(
        self, first: Sequence[Picks], references: Iterable[tuple[ReferenceKind, Sites]]
    ) -> None:
        """Queue what is not there yet, and take back what a process that is gone left running.

        Args:
            first: designs that are tried before any proposal, all feasible.
            references: what the search is compared with, in the order in which it is scored.
        """
        self._store.recover()
        own = {design_of(trial) for trial in counting(self._store.own())}
        for picks in first[: self.run.trials]:
            insertions = self.space.insertions(picks)
            if as_text(insertions) not in own:
                self._store.add(insertions, picks, None)
        there = {(kind_of(t), design_of(t)) for t in self._store.references()}
        for kind, insertions in references:
            if (kind, as_text(insertions)) not in there:
                self._store.add(insertions, None, kind)

    def take(self) -> Claim | Busy | None:
        """The next trial to score; None when all is done."""
        # Only where the database was lost while one was taken.
        self.give_back()
        now = time.monotonic()
        if not self._alone and now - self._checked >= _STALE_CHECK:
            self._checked = now
            self._store.recover()
        claim = self._next()
        if claim is not None or not self._unfinished():
            return claim
        if not self._alone:
            return Busy()
        # Nobody else can hold what is left: an answer of the database was lost.
        self._store.recover()
        return self._next()

    @contextmanager
    def at_work(self, claim: Claim) -> Iterator[None]:
        """Give signs of life while the block scores."""
        if self._alone:
            yield
            return
        stop = Event()

        def beat() -> None:
            while not stop.wait(self.run.heartbeat):
                # Whatever goes wrong, the next one makes up for it.
                with suppress(Exception):
                    self._store.beat(claim.trial_id)

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_JOIN)

    def finish(self, claim: Claim, score: float) -> bool:
        """Store a score; False if the trial was taken from this worker, as one thought dead."""
        values = [score]
        if claim.reference is None:
            picks = self.space.picks(claim.insertions)
            if picks is None:
                raise RunError(f"{claim.insertions} is not in space {self.space.name}")
            values = objective_values(self._feasible, self.run.objectives, picks, score)
        done = self._store.set(claim.reference, claim.trial_id, TrialState.COMPLETE, values)
        self._held = None
        return done

    def fail(self, claim: Claim, reason: str) -> bool:
        """Store why a design has no score; False as for :meth:`finish`."""
        done = self._store.fail(claim.reference, claim.trial_id, REASON, reason)
        self._held = None
        return done

    def give_back(self) -> None:
        """Let the trial that this worker has taken, and not finished, wait again."""
        held, self._held = self._held, None
        # Without an answer now, it waits again when no sign of life has come, or on --resume.
        with suppress(*NO_ANSWER):
            if held is not None:
                self._store.give_back(*held)

    def finished(self, known: AbstractSet[Key] = frozenset()) -> list[tuple[Key, Trial]]:
        """(key, trial) of all that have a score or failed and are not known.

        The search's own first; in the order in which they were first proposed, in which one worker
        finishes them.
        """
        found, retries = [], Counter[Key]()
        for trials in (self._store.own(), self._store.references()):
            retries.update((kind_of(trial), first_number(trial)) for trial in trials)
            new = [
                trial
                for trial in counting(trials)
                if trial.state.is_finished() and (kind_of(trial), trial.number) not in known
            ]
            found += sorted(new, key=first_number)
        return [
            (
                (kind_of(trial), trial.number),
                self._store.record(trial, retries[kind_of(trial), first_number(trial)] - 1),
            )
            for trial in found
        ]

    def any_scored(self) -> bool:
        """Whether any design has a score."""
        return any(trial.state == TrialState.COMPLETE for trial in self._all())

    def _all(self) -> list[FrozenTrial]:
        return [*self._store.own(), *self._store.references()]

    def _unfinished(self) -> bool:
        return any(not trial.state.is_finished() for trial in self._all())

    def _next(self) -> Claim | None:
        references = self._store.references()
        return (
            self._take_reference(references, ("base",))
            or self._take_own(references)
            or self._take_reference(references, ("paper", "largest", "random"))
        )

    def _take_own(self, references: Sequence[FrozenTrial]) -> Claim | None:
        """A waiting trial of the search's own, or a new one; None if there is no other."""
        while True:
            trials = self._store.own()
            for trial in _waiting(trials, [*trials, *references]):
                claim = self._take(trial)
                if claim is not None:
                    return claim
            # Some of those may be withdrawn now.
            trials = self._store.own()
            if len(counting(trials)) >= self.run.trials:
                return None
            picks = self._propose(trials, references)
            if picks is None:
                return None
            claim = self._new(picks, [*trials, *references])
            if claim is not None:
                return claim

    def _take_reference(
        self, references: Sequence[FrozenTrial], kinds: Sequence[ReferenceKind]
    ) -> Claim | None:
        candidates = [t for t in references if kind_of(t) in kinds]
        if not any(t.state == TrialState.WAITING for t in candidates):
            return None
        for trial in _waiting(candidates, [*self._store.own(), *references]):
            claim = self._take(trial)
            if claim is not None:
                return claim
        return None

    def _propose(
        self, trials: Sequence[FrozenTrial], references: Sequence[FrozenTrial]
    ) -> Picks | None:
        nothing = self.space.picks(())
        self._sampler.also = [
            (nothing, trial.values[0])
            for trial in references
            if nothing is not None
            and trial.state == TrialState.COMPLETE
            and kind_of(trial) == "base"
        ]
        return self._sampler.propose(trials)

    def _new(self, picks: Picks, others: Sequence[FrozenTrial]) -> Claim | None:
        """Store a proposal and take it; None if another worker was quicker."""
        insertions = self.space.insertions(picks)
        if not self._alone:
            return self._take(self._store.get(self._store.add(insertions, picks, None)))
        trial_id = self._store.add(insertions, picks, None, TrialState.RUNNING)
        self._held = None, trial_id
        return self._claim(trial_id, as_text(insertions), None, others)

    def _take(self, trial: FrozenTrial) -> Claim | None:
        """Make a waiting trial this worker's; None if another was quicker or it is withdrawn."""
        kind, trial_id = kind_of(trial), trial._trial_id
        if not self._alone:
            self._store.beat(trial_id)
        if not self._store.set(kind, trial_id, TrialState.RUNNING):
            return None
        self._held = kind, trial_id
        trials = self._all()
        if self._superfluous(trial, trials):
            self._store.fail(kind, trial_id, WITHDRAWN, True)
            self._held = None
            return None
        others = [t for t in trials if t._trial_id != trial_id]
        if design_of(trial) in _running(others):
            self.give_back()
            return None
        return self._claim(trial_id, design_of(trial), kind, others)

    def _superfluous(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Whether an earlier trial has the same design, or there are enough earlier ones."""
        kind = kind_of(trial)
        earlier = [t for t in counting(trials) if t.number < trial.number and kind_of(t) == kind]
        repeated = any(design_of(t) == design_of(trial) for t in earlier)
        return repeated or (kind is None and len(earlier) >= self.run.trials)

    def _claim(
        self, trial_id: int, design: str, kind: ReferenceKind | None, others: Sequence[FrozenTrial]
    ) -> Claim:
        known, failed = None, None
        for other in others:
            if other.state.is_finished() and design_of(other) == design:
                failed = other.user_attrs.get(REASON, failed)
                if other.state == TrialState.COMPLETE:
                    known = self._store.score(other)
        return Claim(trial_id, as_insertions(design), kind, known, failed)


def _waiting(trials: Iterable[FrozenTrial], everywhere: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that wait, in the order in which they first did, but for designs being scored now."""
    busy = _running(everywhere)
    waiting = [t for t in trials if t.state == TrialState.WAITING and design_of(t) not in busy]
    return sorted(waiting, key=first_number)


def _running(trials: Iterable[FrozenTrial]) -> set[str]:
    """The designs that are being scored."""
    return {design_of(trial) for trial in trials if trial.state == TrialState.RUNNING}
