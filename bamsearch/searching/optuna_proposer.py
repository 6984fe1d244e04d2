"""Optuna's samplers, resampled until a proposal is feasible and new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from bamsearch.records import Objective
from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.params import distributions, objective_values, params_of, picks_of
from bamsearch.searching.proposers import Observed, RandomProposer

_ATTEMPTS = 50  # infeasible or repeated proposals before a random design is proposed
_POPULATION = 20


class OptunaProposer:
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

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """See :class:`Proposer`."""
        scores = {p: s for p, s in observed if not self._feasible.space.inserts_nothing(p)}
        if any(scores.get(picks) != score for picks, score in self._scores.items()):
            self._forget()
        coming = {picks: score for picks, score in scores.items() if picks not in self._scores}
        for picks, score in list(coming.items()):
            # Failed designs were proposed too, and advanced the sampler's random state.
            while (proposal := self._ask()) is not None and proposal != picks:
                if proposal in coming or proposal not in excluded:
                    break
                self._fail()
            self._tell(picks, score)
            del coming[picks]
        while (proposal := self._ask()) is not None and proposal in excluded:
            self._fail()
        return proposal

    def _forget(self) -> None:
        directions = [
            StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
            for objective in self._objectives
        ]
        self._study = optuna.create_study(sampler=self._sampler(self._seed), directions=directions)
        self._random = RandomProposer(self._feasible, self._seed)
        self._scores: dict[Picks, float] = {}
        self._failed: set[Picks] = set()
        self._pending: tuple[Picks, optuna.Trial] | None = None

    def _ask(self) -> Picks | None:
        """The sampler's next proposal, the same until it is told or fails."""
        if self._pending is not None:
            return self._pending[0]
        for _ in range(_ATTEMPTS):
            trial = self._study.ask(self._distributions)
            picks = picks_of(self._feasible.space, trial.params)
            new = picks not in self._scores and picks not in self._failed
            if (
                new
                and not self._feasible.space.inserts_nothing(picks)
                and self._feasible.fits(picks)
            ):
                self._pending = picks, trial
                return picks
            self._study.tell(trial, state=TrialState.FAIL)
        design = self._random.propose((), self._scores.keys() | self._failed)
        if design is not None:
            self._pending = design, self._enqueue(design)
        return design

    def _fail(self) -> None:
        if self._pending is not None:
            self._study.tell(self._pending[1], state=TrialState.FAIL)
            self._failed.add(self._pending[0])
            self._pending = None

    def _tell(self, picks: Picks, score: float) -> None:
        if self._pending is not None and self._pending[0] == picks:
            trial = self._pending[1]
            self._pending = None
        else:
            trial = self._enqueue(picks)
        self._study.tell(trial, objective_values(self._feasible, self._objectives, picks, score))
        self._scores[picks] = score

    def _enqueue(self, picks: Picks) -> optuna.Trial:
        self._study.enqueue_trial(params_of(self._feasible.space, picks))
        return self._study.ask(self._distributions)


def tpe(seed: int) -> BaseSampler:
    """Optuna's TPE."""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)


def nsga2(seed: int) -> BaseSampler:
    """Optuna's NSGA-II."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
