"""Optuna's own samplers, asked again until they propose what fits and is new."""

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

_ASKED_AGAIN = 50
_POPULATION = 20


class OptunaProposer:
    """A sampler of Optuna's, asked again until it proposes what fits and is new.

    It works on a study in memory that is made from what has finished, in the order in which it
    did: so a proposal depends on that alone, whatever process asks.

    Args:
        feasible: what fits.
        objectives: what the search is for.
        seed: of the sampler.
        sampler: makes the sampler, from a seed.
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
        if any(scores.get(picks) != score for picks, score in self._told.items()):
            self._forget()
        coming = {picks: score for picks, score in scores.items() if picks not in self._told}
        for picks, score in list(coming.items()):
            # What failed was proposed too, and moved the sampler's random numbers.
            while (own := self._ask()) is not None and own != picks:
                if own in coming or own not in excluded:
                    break
                self._fail()
            self._tell(picks, score)
            del coming[picks]
        while (own := self._ask()) is not None and own in excluded:
            self._fail()
        return own

    def _forget(self) -> None:
        directions = [
            StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
            for objective in self._objectives
        ]
        self._study = optuna.create_study(sampler=self._sampler(self._seed), directions=directions)
        self._random = RandomProposer(self._feasible, self._seed)
        self._told: dict[Picks, float] = {}
        self._failed: set[Picks] = set()
        self._pending: tuple[Picks, optuna.Trial] | None = None

    def _ask(self) -> Picks | None:
        """The sampler's own next proposal; asked once until it is told or has failed."""
        if self._pending is not None:
            return self._pending[0]
        for _ in range(_ASKED_AGAIN):
            trial = self._study.ask(self._distributions)
            picks = picks_of(self._feasible.space, trial.params)
            new = picks not in self._told and picks not in self._failed
            if (
                new
                and not self._feasible.space.inserts_nothing(picks)
                and self._feasible.fits(picks)
            ):
                self._pending = picks, trial
                return picks
            self._study.tell(trial, state=TrialState.FAIL)
        found = self._random.propose((), self._told.keys() | self._failed)
        if found is not None:
            self._pending = found, self._enqueued(found)
        return found

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
            trial = self._enqueued(picks)
        self._study.tell(trial, objective_values(self._feasible, self._objectives, picks, score))
        self._told[picks] = score

    def _enqueued(self, picks: Picks) -> optuna.Trial:
        self._study.enqueue_trial(params_of(self._feasible.space, picks))
        return self._study.ask(self._distributions)


def tpe(seed: int) -> BaseSampler:
    """Optuna's TPE."""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)


def nsga2(seed: int) -> BaseSampler:
    """Optuna's NSGA-II."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
