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
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import RunError
from bamsearch.records import BaselineKind, Run, Trial
from bamsearch.sampler.basic_samplers import Sampler
from bamsearch.sampler.optuna_sampler import objective_values
from bamsearch.sampler.training_analysis import Observation, expected_regret, observed_of
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible
from bamsearch.study.samplers import FeasibleSampler
from bamsearch.study.storage import NO_ANSWER, retry_until
from bamsearch.study.store import (
    BEGAN,
    CURVE,
    DEATHS,
    EXPECTED,
    REASON,
    WITHDRAWN,
    DesignSeed,
    Sites,
    TrialStore,
    as_insertions,
    as_text,
    counting,
    design_key,
    design_seed_of,
    first_number,
    kind_of,
    seed_of,
)

P = ParamSpec("P")
T = TypeVar("T")

_STALE_CHECK = 2.0
_JOIN = 1.0

TrialKey = tuple[BaselineKind | None, int]
"""Baseline kind, None for the search's own trials, and trial number in that study."""


@dataclass(frozen=True, slots=True)
class TrialLease:
    """The lease of a trial to this worker.

    Attributes:
        trial_id: Optuna's trial_id, unique in the database.
        insertions: insertions of the design.
        baseline: baseline kind; None for the search's own trials.
        seed: seed of the training; None if the score does not train.
        cached: outcome of an earlier trial with the same design and seed.
    """

    trial_id: int
    insertions: Sites
    baseline: BaselineKind | None = None
    seed: int | None = None
    cached: TrialOutcome | None = None


@dataclass(frozen=True, slots=True)
class TrialOutcome:
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
class Waiting:
    """No trial to take now, but others are running: try again later."""


class SearchStudy:
    """The studies of a run, as seen by one worker."""

    def __init__(
        self,
        storage: BaseStorage,
        run: Run,
        feasible: Feasible,
        sampler: Sampler,
        *,
        single_process: bool,
        masked_url: str = "",
    ) -> None:
        self.run = run
        self.masked_url = masked_url
        self.space = feasible.space
        self.feasible = feasible
        self._single_process = single_process
        self._sampler = FeasibleSampler(sampler, self.space, run.objectives, repeats=run.repeats)
        self._store = TrialStore(
            storage, run, self.space, self._sampler, single_process=single_process
        )
        self._checked = float("-inf")
        self._held: int | None = None
        self._reported = [0, 0]

    def retry(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Retry a call while the database does not answer."""
        return retry_until(partial(call, *args, **options), self.masked_url)

    def prepare(
        self, first: Sequence[Encoding], baselines: Iterable[tuple[BaselineKind, Sites]]
    ) -> None:
        """Queue the trials that are missing, and requeue those of dead processes."""
        self._store.requeue_stale()
        queued = {design_key(trial) for trial in counting(self._store.own())}
        for encoding in first[: self.run.trials]:
            insertions = self.space.insertions(encoding)
            if as_text(insertions) not in queued:
                self._store.add(insertions, encoding, None, seed=0 if self.run.trained else None)
        stored = Counter((kind_of(t), design_key(t)) for t in counting(self._store.baselines()))
        wanted = Counter[tuple[BaselineKind | None, str]]()
        for kind, insertions in baselines:
            key = kind, as_text(insertions)
            if wanted[key] >= stored[key]:
                seed = wanted[key] if self.run.trained else None
                self._store.add(insertions, None, kind, seed=seed)
            wanted[key] += 1

    def take(self) -> TrialLease | Waiting | None:
        """Take the next trial; None when all are finished."""
        # Requeues a trial whose lease was interrupted by a database failure.
        self.requeue()
        now = time.monotonic()
        if not self._single_process and now - self._checked >= _STALE_CHECK:
            self._checked = now
            self._store.requeue_stale()
        lease = self._next()
        if lease is not None or not self._unfinished():
            return lease
        if not self._single_process:
            return Waiting()
        # No other process can hold the remaining trials: an answer of the database was lost.
        self._store.requeue_stale()
        return self._next()

    @contextmanager
    def heartbeats(self, lease: TrialLease) -> Iterator[None]:
        """Send heartbeats while the block scores."""
        if self._single_process:
            yield
            return
        stop = Event()

        def heartbeat() -> None:
            while not stop.wait(self.run.heartbeat):
                # A lost heartbeat is made up for by the next.
                with suppress(Exception):
                    self._store.heartbeat(lease.trial_id)

        thread = Thread(target=heartbeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(_JOIN)

    def record_start(self, lease: TrialLease, steps: int) -> None:
        """Record where a training starts.

        If it has progressed since its worker last died, its deaths are forgotten: the design did
        not cause them.
        """
        before = self._store.get(lease.trial_id).user_attrs.get(BEGAN, 0)
        if steps > before:
            self._store.set_attrs(lease.trial_id, {BEGAN: steps, DEATHS: 0})

    def finish(self, lease: TrialLease, outcome: TrialOutcome) -> bool:
        """Store the outcome of a trial.

        Returns:
            False if the trial was requeued meanwhile, because this worker was considered dead.
        """
        attrs: dict[str, Any] = {CURVE: list(outcome.curve)} if outcome.curve else {}
        if outcome.expected is not None:
            attrs[EXPECTED] = outcome.expected
        self._store.set_attrs(lease.trial_id, attrs)
        if outcome.score is not None:
            values = self._values(lease, outcome.score)
            done = self._store.set(lease.trial_id, TrialState.COMPLETE, values)
        elif outcome.expected is not None:
            done = self._store.set(lease.trial_id, TrialState.PRUNED)
        else:
            done = self._store.fail(lease.trial_id, REASON, outcome.reason)
        self._held = None
        return done

    def _values(self, lease: TrialLease, score: float) -> list[float]:
        """The values of the study's objectives."""
        if lease.baseline is not None:
            return [score]
        encoding = self.space.encoding(lease.insertions)
        if encoding is None:
            raise RunError(f"{lease.insertions} is not in space {self.space.name}")
        return objective_values(self.feasible, self.run.objectives, encoding, score)

    def requeue(self) -> None:
        """Requeue the trial that this worker has taken and not finished."""
        held, self._held = self._held, None
        # If the database does not answer, the trial is requeued when its heartbeat is stale, or
        # by --resume.
        with suppress(*NO_ANSWER):
            if held is not None:
                self._store.requeue(held)

    def finished(self, seen: AbstractSet[TrialKey] = frozenset()) -> list[tuple[TrialKey, Trial]]:
        """Finished trials with their keys, except those in ``seen``.

        The search's own trials come first, each group in the order of first proposal, which is that
        in which a single worker finishes them.
        """
        records = []
        for study, trials in enumerate((self._store.own(), self._store.baselines())):
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

    def trainings(self) -> list[Observation]:
        """Design, accuracy and seed of each training so far, of designs in the space."""
        values: dict[DesignSeed, float] = {}
        for trial in [*self._store.baselines(), *self._store.own()]:
            result = self._outcome(trial) if trial.state.is_finished() else None
            value = None if result is None else _value(result)
            if value is not None:
                values.setdefault(design_seed_of(trial), value)
        rows = [(as_insertions(text), value, seed or 0) for (text, seed), value in values.items()]
        return observed_of(self.space, rows)

    def curves(self) -> list[tuple[float, ...]]:
        """Validation accuracies per epoch of all trainings that were not stopped early."""
        ended = [trial for trial in self._all() if trial.state == TrialState.COMPLETE]
        # A baseline that is also a trial is one training.
        curves = {
            design_seed_of(t): tuple(t.user_attrs[CURVE]) for t in ended if CURVE in t.user_attrs
        }
        return list(curves.values())

    def any_scored(self) -> bool:
        """Whether any design has a score."""
        return any(trial.state == TrialState.COMPLETE for trial in self._all())

    def _all(self) -> list[FrozenTrial]:
        return [*self._store.own(), *self._store.baselines()]

    def _unfinished(self) -> bool:
        return any(not trial.state.is_finished() for trial in self._all())

    def _next(self) -> TrialLease | None:
        baselines = self._store.baselines()
        return (
            self._take_baseline([t for t in baselines if not seed_of(t)], ("base",))
            or self._take_own(baselines)
            # Further seeds of the base serve the comparison only: proposals do not wait for them.
            or self._take_baseline(baselines, ("base", "paper", "largest", "random"))
        )

    def _take_own(self, baselines: Sequence[FrozenTrial]) -> TrialLease | None:
        """A waiting or new trial of the search's own; None if none remains."""
        while True:
            trials = self._store.own()
            for trial in _waiting(trials, [*trials, *baselines]):
                lease = self._take(trial)
                if lease is not None:
                    return lease
            # Read again: some of them may have been withdrawn.
            trials = self._store.own()
            if len(counting(trials)) >= self.run.trials or self._decided():
                return None
            encoding = self._suggest(trials, baselines)
            if encoding is None:
                return None
            lease = self._new(encoding, [*trials, *baselines])
            if lease is not None:
                return lease

    def _decided(self) -> bool:
        """Whether the expected regret of stopping is below ``until``."""
        until = self.run.until
        if until is None:
            return False
        return expected_regret(self.feasible, self.trainings(), self.run.seed) < until

    def _take_baseline(
        self, baselines: Sequence[FrozenTrial], kinds: Sequence[BaselineKind]
    ) -> TrialLease | None:
        candidates = [t for t in baselines if kind_of(t) in kinds]
        if not any(t.state == TrialState.WAITING for t in candidates):
            return None
        for trial in _waiting(candidates, [*self._store.own(), *baselines]):
            lease = self._take(trial)
            if lease is not None:
                return lease
        return None

    def _suggest(
        self, trials: Sequence[FrozenTrial], baselines: Sequence[FrozenTrial]
    ) -> Encoding | None:
        self._sampler.also = self._of_base(baselines)
        return self._sampler.suggest(trials)

    def _of_base(self, baselines: Sequence[FrozenTrial]) -> list[tuple[Encoding, float]]:
        """Scores of the base, which is never proposed, if it is a design of the space."""
        base = self.space.encoding(())
        return [
            (base, trial.values[0])
            for trial in baselines
            if base is not None and trial.state == TrialState.COMPLETE and kind_of(trial) == "base"
        ]

    def _new(self, encoding: Encoding, trials: Sequence[FrozenTrial]) -> TrialLease | None:
        """Store a proposal and take it; None if another worker was faster."""
        insertions = self.space.insertions(encoding)
        seed = self._seed(as_text(insertions), trials) if self.run.trained else None
        if not self._single_process:
            return self._take(
                self._store.get(self._store.add(insertions, encoding, None, seed=seed))
            )
        trial_id = self._store.add(insertions, encoding, None, TrialState.RUNNING, seed=seed)
        self._held = trial_id
        return self._lease(trial_id, (as_text(insertions), seed), None)

    def _seed(self, design: str, trials: Sequence[FrozenTrial]) -> int:
        """The first seed that no finished, running or waiting trial of the design has."""
        taken = {seed_of(trial) for trial in counting(trials) if design_key(trial) == design}
        return next(seed for seed in count() if seed not in taken)

    def _take(self, trial: FrozenTrial) -> TrialLease | None:
        """Take a waiting trial; None if another worker was faster or the trial is withdrawn."""
        kind, trial_id = kind_of(trial), trial._trial_id
        if not self._single_process:
            self._store.heartbeat(trial_id)
        if not self._store.set(trial_id, TrialState.RUNNING):
            return None
        self._held = trial_id
        trials = self._all()
        if self._superfluous(trial, trials):
            self._store.fail(trial_id, WITHDRAWN, True)
            self._held = None
            return None
        rest = [t for t in trials if t._trial_id != trial_id]
        if design_seed_of(trial) in _running(rest):
            self.requeue()
            return None
        return self._lease(trial_id, design_seed_of(trial), kind)

    def _superfluous(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """Whether an earlier trial has the same design and seed, or there are enough of them."""
        kind = kind_of(trial)
        earlier = [t for t in counting(trials) if t.number < trial.number and kind_of(t) == kind]
        repeated = any(design_seed_of(t) == design_seed_of(trial) for t in earlier)
        return repeated or (kind is None and len(earlier) >= self.run.trials)

    def _lease(
        self, trial_id: int, design_seed: DesignSeed, kind: BaselineKind | None
    ) -> TrialLease:
        earlier = None
        for trial in self._store.ended(design_seed):
            outcome = self._outcome(trial)
            if outcome is not None and (earlier is None or earlier.score is None):
                earlier = outcome
        return TrialLease(trial_id, as_insertions(design_seed[0]), kind, design_seed[1], earlier)

    def _outcome(self, trial: FrozenTrial) -> TrialOutcome | None:
        """The outcome of a trial that has ended; None if it was interrupted."""
        attrs = trial.user_attrs
        curve = tuple(attrs.get(CURVE, ()))
        if trial.state == TrialState.COMPLETE:
            return TrialOutcome(self._store.score(trial), curve=curve)
        if trial.state == TrialState.PRUNED:
            return TrialOutcome(curve=curve, expected=attrs[EXPECTED])
        return TrialOutcome(reason=attrs[REASON]) if REASON in attrs else None


def _value(result: TrialOutcome) -> float | None:
    return result.expected if result.score is None else result.score


def _waiting(trials: Iterable[FrozenTrial], everywhere: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Waiting trials in the order of first proposal, except those being scored in another trial."""
    busy = _running(everywhere)
    waiting = [t for t in trials if t.state == TrialState.WAITING and design_seed_of(t) not in busy]
    return sorted(waiting, key=first_number)


def _running(trials: Iterable[FrozenTrial]) -> set[DesignSeed]:
    """Design and seed of the running trials."""
    return {design_seed_of(trial) for trial in trials if trial.state == TrialState.RUNNING}
