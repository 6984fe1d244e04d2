"""Scheduling of a run's trials: which worker runs which trial, and the results so far.

Any number of workers share the studies of a run:

- A proposal is stored as a waiting trial, then taken by setting it running, which the database
  allows only one worker. A heartbeat is stored first, so that no trial can get stuck.
- The worker that takes a trial looks for its design among all trials. If an earlier trial has it,
  or there are enough trials without it, the trial is withdrawn. Every trial is stored before it is
  taken, so among trials of one design the first stays.
- An interrupted worker requeues its trial. That of a killed worker is requeued by another worker
  once its heartbeat is stale.
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
"""Baseline kind, None for the search's own trials, and trial number in that study."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease of a trial to this worker.

    Attributes:
        trial_id: Optuna's trial_id, unique in the database.
        insertions: insertions of the design.
        reference: baseline kind; None for the search's own trials.
        seed: seed of the training; None if the score does not train.
        known: outcome of an earlier trial with the same design and seed.
    """

    trial_id: int
    insertions: Sites
    reference: ReferenceKind | None = None
    seed: int | None = None
    known: Scored | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """The outcome of a trial.

    Attributes:
        score: score, higher is better; None if the trial failed or was stopped early.
        reason: reason of a failure; empty otherwise.
        curve: learning curve of the training, see :class:`bamsearch.records.Trial`.
        expected: predicted score of a training that was stopped early.
    """

    score: float | None = None
    reason: str = ""
    curve: tuple[float, ...] = ()
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """No trial to take now, but others are running: try again later."""


class SearchStudy:
    """The studies of a run, as seen by one worker.

    Args:
        storage: Optuna storage.
        run: the run.
        feasible: the feasible designs.
        proposer: sampler of the next design.
        alone: whether this is the only process; it then needs no heartbeats.
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
        """Queue the trials that are missing, and requeue those of dead processes.

        Args:
            first: feasible designs that are tried before any proposal.
            references: baselines, in the order in which they are scored. With score train, a
                repeated baseline has another seed each time.
        """
        self._store.recover()
        queued = {design_of(trial) for trial in counting(self._store.own())}
        for picks in first[: self.run.trials]:
            insertions = self.space.insertions(picks)
            if as_text(insertions) not in queued:
                self._store.add(insertions, picks, None, seed=0 if self.run.trained else None)
        stored = Counter((kind_of(t), design_of(t)) for t in counting(self._store.references()))
        wanted = Counter[tuple[ReferenceKind | None, str]]()
        for kind, insertions in references:
            key = kind, as_text(insertions)
            if wanted[key] >= stored[key]:
                seed = wanted[key] if self.run.trained else None
                self._store.add(insertions, None, kind, seed=seed)
            wanted[key] += 1

    def take(self) -> Claim | Busy | None:
        """Take the next trial; None when all are finished."""
        # Requeues a trial whose lease was interrupted by a database failure.
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
        # No other process can hold the remaining trials: an answer of the database was lost.
        self._store.recover()
        return self._next()

    @contextmanager
    def at_work(self, claim: Claim) -> Iterator[None]:
        """Send heartbeats while the block scores."""
        if self._alone:
            yield
            return
        stop = Event()

        def beat() -> None:
            while not stop.wait(self.run.heartbeat):
                # A lost heartbeat is made up for by the next.
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
        """Record where a training starts.

        If it has progressed since its worker last died, its deaths are forgotten: the design did
        not cause them.

        Args:
            claim: the trial.
            steps: finished training steps, by its checkpoint.
        """
        before = self._store.get(claim.trial_id).user_attrs.get(BEGAN, 0)
        if steps > before:
            self._store.note(claim.reference, claim.trial_id, {BEGAN: steps, DEATHS: 0})

    def finish(self, claim: Claim, scored: Scored) -> bool:
        """Store the outcome of a trial.

        Returns:
            False if the trial was requeued meanwhile, because this worker was considered dead.
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
        """Requeue the trial that this worker has taken and not finished."""
        held, self._held = self._held, None
        # If the database does not answer, the trial is requeued when its heartbeat is stale, or
        # by --resume.
        with suppress(*NO_ANSWER):
            if held is not None:
                self._store.give_back(*held)

    def finished(self, seen: AbstractSet[Key] = frozenset()) -> list[tuple[Key, Trial]]:
        """Finished trials with their keys, except those in ``seen``.

        The search's own trials come first, each group in the order of first proposal, which is that
        in which a single worker finishes them.
        """
        records = []
        for study, trials in enumerate((self._store.own(), self._store.references())):
            # Trials already seen are skipped.
            start = self._reported[study] if seen else 0
            unseen = [t for t in counting(trials[start:]) if (kind_of(t), t.number) not in seen]
            if seen:
                self._reported[study] = unseen[0].number if unseen else len(trials)
            new = [trial for trial in unseen if trial.state.is_finished()]
            for trial in sorted(new, key=first_number):
                first = first_number(trial)
                retried = first != trial.number
                retries = sum(first_number(t) == first for t in trials) - 1 if retried else 0
                record = self._store.record(trial, retries)
                records.append(((kind_of(trial), trial.number), record))
        return records

    def trainings(self) -> list[Training]:
        """Design, accuracy and seed of each training so far, of designs in the space."""
        values: dict[Work, float] = {}
        for trial in [*self._store.references(), *self._store.own()]:
            result = self._outcome(trial) if trial.state.is_finished() else None
            value = None if result is None else _value(result)
            if value is not None:
                values.setdefault(work_of(trial), value)
        rows = [(as_insertions(text), value, seed or 0) for (text, seed), value in values.items()]
        return observed_of(self.space, rows)

    def curves(self) -> list[tuple[float, ...]]:
        """Validation accuracies per epoch of all trainings that were not stopped early."""
        ended = [trial for trial in self._all() if trial.state == TrialState.COMPLETE]
        # A baseline that is also a trial is one training.
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
            # Further seeds of the base serve the comparison only: proposals do not wait for them.
            or self._take_reference(references, ("base", "paper", "largest", "random"))
        )

    def _take_own(self, references: Sequence[FrozenTrial]) -> Claim | None:
        """A waiting or new trial of the search's own; None if none remains."""
        while True:
            trials = self._store.own()
            for trial in _waiting(trials, [*trials, *references]):
                claim = self._take(trial)
                if claim is not None:
                    return claim
            # Read again: some of them may have been withdrawn.
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
        """Whether the expected regret of stopping is below ``until``."""
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
        """Scores of the base, which is never proposed, if it is a design of the space."""
        base = self.space.picks(())
        return [
            (base, trial.values[0])
            for trial in references
            if base is not None and trial.state == TrialState.COMPLETE and kind_of(trial) == "base"
        ]

    def _new(self, picks: Picks, trials: Sequence[FrozenTrial]) -> Claim | None:
        """Store a proposal and take it; None if another worker was faster."""
        insertions = self.space.insertions(picks)
        seed = self._seed(as_text(insertions), trials) if self.run.trained else None
        if not self._alone:
            return self._take(self._store.get(self._store.add(insertions, picks, None, seed=seed)))
        trial_id = self._store.add(insertions, picks, None, TrialState.RUNNING, seed=seed)
        self._held = None, trial_id
        return self._claim(trial_id, (as_text(insertions), seed), None)

    def _seed(self, design: str, trials: Sequence[FrozenTrial]) -> int:
        """The first seed that no finished, running or waiting trial of the design has."""
        taken = {seed_of(trial) for trial in counting(trials) if design_of(trial) == design}
        return next(seed for seed in count() if seed not in taken)

    def _take(self, trial: FrozenTrial) -> Claim | None:
        """Take a waiting trial; None if another worker was faster or the trial is withdrawn."""
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
        rest = [t for t in trials if t._trial_id != trial_id]
        if work_of(trial) in _running(rest):
            self.give_back()
            return None
        return self._claim(trial_id, work_of(trial), kind)

    def _superfluous(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Whether an earlier trial has the same design and seed, or there are enough of them."""
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
        earlier = None
        for trial in self._store.ended(work):
            outcome = self._outcome(trial)
            if outcome is not None and (earlier is None or earlier.score is None):
                earlier = outcome
        return Claim(trial_id, as_insertions(work[0]), kind, work[1], earlier)

    def _outcome(self, trial: FrozenTrial) -> Scored | None:
        """The outcome of a trial that has ended; None if it was interrupted."""
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
    """Waiting trials in the order of first proposal, except those being scored in another trial."""
    busy = _running(everywhere)
    waiting = [t for t in trials if t.state == TrialState.WAITING and work_of(t) not in busy]
    return sorted(waiting, key=first_number)


def _running(trials: Iterable[FrozenTrial]) -> set[Work]:
    """Design and seed of the running trials."""
    return {work_of(trial) for trial in trials if trial.state == TrialState.RUNNING}
