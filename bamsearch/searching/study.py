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
from itertools import count
from threading import Event, Thread
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import RunError
from bamsearch.records import ReferenceKind, Run, Trial
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.learning import expected_regret, observed_of
from bamsearch.searching.params import objective_values
from bamsearch.searching.proposers import Proposer
from bamsearch.searching.samplers import FeasibleSampler
from bamsearch.searching.storage import NO_ANSWER
from bamsearch.searching.store import TrialStore
from bamsearch.searching.training_model import Training
from bamsearch.searching.trials import (
    BEGAN,
    CURVE,
    DEATHS,
    EXPECTED,
    REASON,
    WITHDRAWN,
    Sites,
    Work,
    as_insertions,
    as_text,
    counting,
    design_of,
    first_number,
    kind_of,
    seed_of,
    work_of,
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
        seed: of its training; None where the score needs none.
        known: what came of it, where the same was scored before.
    """

    trial_id: int
    insertions: Sites
    reference: ReferenceKind | None = None
    seed: int | None = None
    known: Scored | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of a trial.

    Attributes:
        score: higher is better; None where it failed, or was stopped early.
        reason: why it failed; empty otherwise.
        curve: of its training, see :class:`bamsearch.records.Trial`.
        expected: the score that one stopped early would have had.
    """

    score: float | None = None
    reason: str = ""
    curve: tuple[float, ...] = ()
    expected: float | None = None


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
        self.feasible = feasible
        self._alone = alone
        self._sampler = FeasibleSampler(proposer, self.space, run.objectives, repeats=run.repeats)
        self._store = TrialStore(storage, run, self.space, self._sampler, alone=alone)
        self._checked = float("-inf")
        self._held: tuple[ReferenceKind | None, int] | None = None
        self._reported = [0, 0]

    def prepare(
        self, first: Sequence[Picks], references: Iterable[tuple[ReferenceKind, Sites]]
    ) -> None:
        """Queue what is not there yet, and take back what a process that is gone left running.

        Args:
            first: designs that are tried before any proposal, all feasible.
            references: what the search is compared with, in the order in which it is scored; what
                is trained has a seed of its own for each time that it is there.
        """
        self._store.recover()
        own = {design_of(trial) for trial in counting(self._store.own())}
        for picks in first[: self.run.trials]:
            insertions = self.space.insertions(picks)
            if as_text(insertions) not in own:
                self._store.add(insertions, picks, None, seed=0 if self.run.trained else None)
        there = Counter((kind_of(t), design_of(t)) for t in counting(self._store.references()))
        asked = Counter[tuple[ReferenceKind | None, str]]()
        for kind, insertions in references:
            key = kind, as_text(insertions)
            if asked[key] >= there[key]:
                seed = asked[key] if self.run.trained else None
                self._store.add(insertions, None, kind, seed=seed)
            asked[key] += 1

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

    def began(self, claim: Claim, steps: int) -> None:
        """Note where a training starts; one that got further since a death is not to blame for it.

        Args:
            claim: the trial.
            steps: training steps that it has behind it, by its checkpoint.
        """
        before = self._store.get(claim.trial_id).user_attrs.get(BEGAN, 0)
        if steps > before:
            self._store.note(claim.reference, claim.trial_id, {BEGAN: steps, DEATHS: 0})

    def finish(self, claim: Claim, scored: Scored) -> bool:
        """Store what came of a trial.

        Returns:
            False if the trial was taken from this worker, as one thought dead.
        """
        facts: dict[str, Any] = {CURVE: list(scored.curve)} if scored.curve else {}
        if scored.expected is not None:
            facts[EXPECTED] = scored.expected
        self._store.note(claim.reference, claim.trial_id, facts)
        if scored.score is not None:
            return self._complete(claim, scored.score)
        if scored.expected is not None:
            done = self._store.set(claim.reference, claim.trial_id, TrialState.PRUNED)
        else:
            done = self._store.fail(claim.reference, claim.trial_id, REASON, scored.reason)
        self._held = None
        return done

    def _complete(self, claim: Claim, score: float) -> bool:
        values = [score]
        if claim.reference is None:
            picks = self.space.picks(claim.insertions)
            if picks is None:
                raise RunError(f"{claim.insertions} is not in space {self.space.name}")
            values = objective_values(self.feasible, self.run.objectives, picks, score)
        done = self._store.set(claim.reference, claim.trial_id, TrialState.COMPLETE, values)
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
        found = []
        for place, trials in enumerate((self._store.own(), self._store.references())):
            # Leading trials that are known are not looked at again.
            start = self._reported[place] if known else 0
            unknown = [t for t in counting(trials[start:]) if (kind_of(t), t.number) not in known]
            if known:
                self._reported[place] = unknown[0].number if unknown else len(trials)
            new = [trial for trial in unknown if trial.state.is_finished()]
            for trial in sorted(new, key=first_number):
                first = first_number(trial)
                again = first != trial.number
                retries = sum(first_number(t) == first for t in trials) - 1 if again else 0
                record = self._store.record(trial, retries)
                found.append(((kind_of(trial), trial.number), record))
        return found

    def trainings(self) -> list[Training]:
        """Designs of the space, accuracies and seeds of all trainings so far, each once."""
        values: dict[Work, float] = {}
        for trial in [*self._store.references(), *self._store.own()]:
            result = self._came_of(trial) if trial.state.is_finished() else None
            value = None if result is None else _value(result)
            if value is not None:
                values.setdefault(work_of(trial), value)
        rows = [(as_insertions(text), value, seed or 0) for (text, seed), value in values.items()]
        return observed_of(self.space, rows)

    def curves(self) -> list[tuple[float, ...]]:
        """Validation accuracies of all trainings that went to their end, an epoch each."""
        ended = [trial for trial in self._all() if trial.state == TrialState.COMPLETE]
        # A reference that is a trial too is one training.
        curves = {work_of(t): tuple(t.user_attrs[CURVE]) for t in ended if CURVE in t.user_attrs}
        return list(curves.values())

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
            self._take_reference([t for t in references if not seed_of(t)], ("base",))
            or self._take_own(references)
            # Further seeds of the base are for the comparison: no proposal waits for them.
            or self._take_reference(references, ("base", "paper", "largest", "random"))
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
            if len(counting(trials)) >= self.run.trials or self._decided():
                return None
            picks = self._propose(trials, references)
            if picks is None:
                return None
            claim = self._new(picks, [*trials, *references])
            if claim is not None:
                return claim

    def _decided(self) -> bool:
        """Whether further trainings are expected to gain less than ``until``."""
        until = self.run.until
        if until is None:
            return False
        return expected_regret(self.feasible, self.trainings(), self.run.seed) < until

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
        self._sampler.also = self._of_base(references)
        return self._sampler.propose(trials)

    def _of_base(self, references: Sequence[FrozenTrial]) -> list[tuple[Picks, float]]:
        """Scores of the base, which is never proposed, where it is a design of the space."""
        nothing = self.space.picks(())
        return [
            (nothing, trial.values[0])
            for trial in references
            if nothing is not None
            and trial.state == TrialState.COMPLETE
            and kind_of(trial) == "base"
        ]

    def _new(self, picks: Picks, others: Sequence[FrozenTrial]) -> Claim | None:
        """Store a proposal and take it; None if another worker was quicker."""
        insertions = self.space.insertions(picks)
        seed = self._seed(as_text(insertions), others) if self.run.trained else None
        if not self._alone:
            return self._take(self._store.get(self._store.add(insertions, picks, None, seed=seed)))
        trial_id = self._store.add(insertions, picks, None, TrialState.RUNNING, seed=seed)
        self._held = None, trial_id
        return self._claim(trial_id, (as_text(insertions), seed), None)

    def _seed(self, design: str, others: Sequence[FrozenTrial]) -> int:
        """The first seed that the design has not been trained with, or is being."""
        taken = {seed_of(trial) for trial in counting(others) if design_of(trial) == design}
        return next(seed for seed in count() if seed not in taken)

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
        if work_of(trial) in _running(others):
            self.give_back()
            return None
        return self._claim(trial_id, work_of(trial), kind)

    def _superfluous(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Whether an earlier trial is the same work, or there are enough earlier ones."""
        kind = kind_of(trial)
        earlier = [t for t in counting(trials) if t.number < trial.number and kind_of(t) == kind]
        repeated = any(work_of(t) == work_of(trial) for t in earlier)
        return repeated or (kind is None and len(earlier) >= self.run.trials)

    def _claim(
        self,
        trial_id: int,
        work: Work,
        kind: ReferenceKind | None,
    ) -> Claim:
        known = None
        for other in self._store.ended(work):
            found = self._came_of(other)
            if found is not None and (known is None or known.score is None):
                known = found
        return Claim(trial_id, as_insertions(work[0]), kind, work[1], known)

    def _came_of(self, trial: FrozenTrial) -> Scored | None:
        """What came of a trial that has ended; None if it was interrupted."""
        attrs = trial.user_attrs
        curve = tuple(attrs.get(CURVE, ()))
        if trial.state == TrialState.COMPLETE:
            return Scored(self._store.score(trial), curve=curve)
        if trial.state == TrialState.PRUNED:
            return Scored(curve=curve, expected=attrs[EXPECTED])
        return Scored(reason=attrs[REASON]) if REASON in attrs else None


def _value(result: Scored) -> float | None:
    return result.expected if result.score is None else result.score


def _waiting(trials: Iterable[FrozenTrial], everywhere: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Those that wait, in the order in which they first did, but for what is being scored now."""
    busy = _running(everywhere)
    waiting = [t for t in trials if t.state == TrialState.WAITING and work_of(t) not in busy]
    return sorted(waiting, key=first_number)


def _running(trials: Iterable[FrozenTrial]) -> set[Work]:
    """The work that is being done."""
    return {work_of(trial) for trial in trials if trial.state == TrialState.RUNNING}
