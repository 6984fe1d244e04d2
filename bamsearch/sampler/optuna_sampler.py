"""Search spaces as Optuna parameters, and Optuna's samplers over the feasible designs.

A choice is a parameter, with the labels of its options as values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from bamsearch.records import Objective
from bamsearch.sampler.basic_samplers import Observed, RandomSampler
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.space.feasible import Feasible

_ATTEMPTS = 50  # infeasible or repeated proposals before a random design is proposed

OPTUNA_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=10),
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
}
"""Optuna's samplers by name, from a random seed."""


class OptunaSampler:
    """An Optuna sampler, resampled until a proposal is feasible and new.

    It works on an in-memory study that is replayed from the finished trials in order, so a proposal
    depends on them alone, whichever process makes it.

    Args:
        feasible: feasible set.
        objectives: objectives of the search.
        seed: random seed of the sampler.
        sampler: key of :data:`OPTUNA_SAMPLERS`.
    """

    def __init__(
        self,
        feasible: Feasible,
        objectives: Sequence[Objective],
        seed: int,
        sampler: str,
    ) -> None:
        self._feasible = feasible
        self._objectives = tuple(objectives)
        self._seed = seed
        self._sampler = OPTUNA_SAMPLERS[sampler]
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


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The Optuna distributions of a space, by the names of the choices."""
    return {
        choice.name: CategoricalDistribution([option.label for option in choice.options])
        for choice in space.choices
    }


def params_of(space: SearchSpace, encoding: Encoding) -> dict[str, str]:
    """A design as Optuna parameters."""
    return {
        choice.name: choice.options[number].label
        for choice, number in zip(space.choices, encoding, strict=True)
    }


def encoding_of(space: SearchSpace, params: dict[str, Any]) -> Encoding:
    """A design from Optuna parameters."""
    return tuple(space.numbers[choice.name, params[choice.name]] for choice in space.choices)


def objective_values(
    feasible: Feasible, objectives: Sequence[Objective], encoding: Encoding, score: float
) -> list[float]:
    """The values of the objectives: the score, and exact costs of the whole network."""
    return [
        score if objective == "score" else float(feasible.space.total(encoding, objective))
        for objective in objectives
    ]
