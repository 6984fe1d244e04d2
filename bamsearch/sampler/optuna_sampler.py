"""Optuna's samplers, resampled until a proposal is feasible and new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from bamsearch.records import Objective
from bamsearch.sampler.basic_samplers import Observed, RandomSampler
from bamsearch.sampler.params import distributions, encoding_of, objective_values, params_of
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible

_ATTEMPTS = 50  # infeasible or repeated proposals before a random design is proposed
_POPULATION = 20


class OptunaSampler:
    """An Optuna sampler, resampled until a proposal is feasible and new.

    It works on an in-memory study that is replayed from the finished trials in order, so a proposal
    depends on them alone, whichever process makes it.

    Args:
        feasible: feasible set.
        objectives: objectives of the search.
        seed: random seed of the sampler.
        sampler: makes the sampler from a seed.
    """

    def __init__(
        self,
        feasible: Feasible,
        objectives: Sequence[Objective],
        seed: int,
        sampler: Callable[[int], BaseSampler],
    ) -> None:
        self._feasible = feasible
        self._objectives = tuple(objectives)
        self._seed = seed
        self._sampler = sampler
        self._distributions = distributions(feasible.space)
        self._forget()

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """See :class:`Sampler`."""
        scores = {p: s for p, s in observed if not self._feasible.space.inserts_nothing(p)}
        if any(scores.get(encoding) != score for encoding, score in self._scores.items()):
            self._forget()
        coming = {
            encoding: score for encoding, score in scores.items() if encoding not in self._scores
        }
        for encoding, score in list(coming.items()):
            # Failed designs were proposed too, and advanced the sampler's random state.
            while (proposal := self._ask()) is not None and proposal != encoding:
                if proposal in coming or proposal not in excluded:
                    break
                self._fail()
            self._tell(encoding, score)
            del coming[encoding]
        while (proposal := self._ask()) is not None and proposal in excluded:
            self._fail()
        return proposal

    def _forget(self) -> None:
        directions = [
            StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
            for objective in self._objectives
        ]
        self._study = optuna.create_study(sampler=self._sampler(self._seed), directions=directions)
        self._random = RandomSampler(self._feasible, self._seed)
        self._scores: dict[Encoding, float] = {}
        self._failed: set[Encoding] = set()
        self._pending: tuple[Encoding, optuna.Trial] | None = None

    def _ask(self) -> Encoding | None:
        """The sampler's next proposal, the same until it has a score or fails."""
        if self._pending is not None:
            return self._pending[0]
        for _ in range(_ATTEMPTS):
            trial = self._study.ask(self._distributions)
            encoding = encoding_of(self._feasible.space, trial.params)
            new = encoding not in self._scores and encoding not in self._failed
            if (
                new
                and not self._feasible.space.inserts_nothing(encoding)
                and self._feasible.fits(encoding)
            ):
                self._pending = encoding, trial
                return encoding
            self._study.tell(trial, state=TrialState.FAIL)
        design = self._random.suggest((), self._scores.keys() | self._failed)
        if design is not None:
            self._pending = design, self._enqueue(design)
        return design

    def _fail(self) -> None:
        if self._pending is not None:
            self._study.tell(self._pending[1], state=TrialState.FAIL)
            self._failed.add(self._pending[0])
            self._pending = None

    def _tell(self, encoding: Encoding, score: float) -> None:
        if self._pending is not None and self._pending[0] == encoding:
            trial = self._pending[1]
            self._pending = None
        else:
            trial = self._enqueue(encoding)
        self._study.tell(trial, objective_values(self._feasible, self._objectives, encoding, score))
        self._scores[encoding] = score

    def _enqueue(self, encoding: Encoding) -> optuna.Trial:
        self._study.enqueue_trial(params_of(self._feasible.space, encoding))
        return self._study.ask(self._distributions)


def tpe(seed: int) -> BaseSampler:
    """Optuna's TPE."""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)


def nsga2(seed: int) -> BaseSampler:
    """Optuna's NSGA-II."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
