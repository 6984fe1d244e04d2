"""Optuna samplers that propose only what fits and was not proposed before.

What each proposes is a function of the seed and of what has finished, so that a search that was
interrupted goes on as if it had not been: no sampler is ever pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import InvalidValueError
from bamsearch.records import Objective
from bamsearch.search.choices import Picks, SearchSpace
from bamsearch.search.feasible import Feasible, Listed
from bamsearch.search.gp import GPProposer
from bamsearch.search.trials import REASON, first_number

SAMPLERS = {
    "gp": "a Gaussian process over sites, r and d, maximised over the designs that fit",
    "tpe": "Optuna's TPE, asked again until a proposal fits",
    "nsga2": "Optuna's NSGA-II, asked again until a proposal fits",
    "random": "uniformly from what fits",
    "exhaustive": "every design that fits, in random order",
}
"""What ``--sampler`` takes, the default first."""

Observed = Sequence[tuple[Picks, float]]

_ASKED_AGAIN = 50
_POPULATION = 20
# Designs are drawn this many at a time.
_DRAWN = 256


class Proposer(Protocol):
    """What decides on the next design."""

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """The next design, never the empty one; None if none is left.

        Args:
            observed: designs and their scores, in the order in which they finished.
            excluded: designs that are scored, being scored, or failed.
        """


class RandomProposer:
    """Designs drawn uniformly from what fits, in an order that depends on the seed alone.

    Args:
        feasible: what fits.
        seed: of the order.
    """

    def __init__(self, feasible: Feasible, seed: int) -> None:
        self._feasible = feasible
        self._rows = self._drawn(np.random.default_rng(seed))
        self._order: dict[Picks, None] = {}

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """See :class:`Proposer`."""
        return next(self.order(excluded), None)

    def order(self, excluded: AbstractSet[Picks] = frozenset()) -> Iterator[Picks]:
        """All designs that are not excluded, in order; of a set that is not listed, without end."""
        for picks in self._order:
            if picks not in excluded:
                yield picks
        for row in self._rows:
            picks = tuple(row.tolist())
            if picks in self._order or self._feasible.space.inserts_nothing(picks):
                continue
            self._order[picks] = None
            if picks not in excluded:
                yield picks

    def _drawn(self, rng: np.random.Generator) -> Iterator[np.ndarray[Any, np.dtype[np.int8]]]:
        if isinstance(self._feasible, Listed):
            for row in rng.permutation(self._feasible.count):
                yield self._feasible.table[row]
            return
        while True:
            yield from self._feasible.sample(rng, _DRAWN)


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


def make_proposer(
    sampler: str, feasible: Feasible, objectives: Sequence[Objective], seed: int
) -> Proposer:
    """The proposer that ``--sampler`` names.

    Raises:
        InvalidValueError: no such sampler.
    """
    if sampler == "gp":
        return GPProposer(feasible, objectives, seed=seed)
    if sampler == "tpe":
        return OptunaProposer(feasible, objectives, seed, _tpe)
    if sampler == "nsga2":
        return OptunaProposer(feasible, objectives, seed, _nsga2)
    if sampler in ("random", "exhaustive"):
        return RandomProposer(feasible, seed)
    raise InvalidValueError(f"no sampler is called {sampler!r}: there are {', '.join(SAMPLERS)}")


class FeasibleSampler(BaseSampler):
    """An Optuna sampler that proposes only designs that fit; for any study of this space.

    Args:
        proposer: what decides.
        space: whose choices are the parameters, each with its options' labels.
        objectives: of the study, in its order; the score is one of them.

    Attributes:
        also: designs scored elsewhere, such as the base, and their scores.
    """

    def __init__(
        self, proposer: Proposer, space: SearchSpace, objectives: Sequence[Objective] = ("score",)
    ) -> None:
        self.proposer = proposer
        self.space = space
        self.also: list[tuple[Picks, float]] = []
        self._score = list(objectives).index("score")
        self._picks: dict[int, Picks] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices: they are decided together."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The options of a design that fits; none where every one has been proposed."""
        if not search_space:
            return {}
        picks = self.propose(
            [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        )
        return {} if picks is None else params_of(self.space, picks)

    def propose(self, trials: Sequence[FrozenTrial]) -> Picks | None:
        """The next design, from the other trials of a study; None where none is left."""
        taken = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        observed, excluded = [], set()
        # As one worker finishes them, which no clock that is set back can change.
        for trial in sorted(trials, key=first_number):
            picks = self._of(trial)
            if picks is None:
                continue
            if trial.state == TrialState.COMPLETE:
                observed.append((picks, trial.values[self._score]))
            if trial.state in taken or REASON in trial.user_attrs:
                excluded.add(picks)
        return self.proposer.propose([*self.also, *observed], excluded)

    def _of(self, trial: FrozenTrial) -> Picks | None:
        """The trial's design; None where it has not all of its parameters yet, or other ones."""
        found = self._picks.get(trial.number)
        if found is None:
            try:
                found = picks_of(self.space, trial.params)
            except KeyError:
                return None
            self._picks[trial.number] = found
        return found

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Only reached for a parameter that is not of the space, or where nothing is left."""
        raise InvalidValueError(
            f"{param_name} is not proposed: it is no choice of space {self.space.name}, "
            "or every design that fits has been proposed"
        )


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Optuna's parameters of a space: a choice's name, its options' labels."""
    return {
        choice.name: CategoricalDistribution([option.label for option in choice.options])
        for choice in space.choices
    }


def params_of(space: SearchSpace, picks: Picks) -> dict[str, str]:
    """A design as values of Optuna's parameters."""
    return {
        choice.name: choice.options[number].label
        for choice, number in zip(space.choices, picks, strict=True)
    }


def picks_of(space: SearchSpace, params: dict[str, Any]) -> Picks:
    """A design from values of Optuna's parameters."""
    return tuple(space.number(choice.name, params[choice.name]) for choice in space.choices)


def objective_values(
    feasible: Feasible, objectives: Sequence[Objective], picks: Picks, score: float
) -> list[float]:
    """The objectives' values: the score, and exact costs of the whole network."""
    return [
        score if objective == "score" else float(feasible.space.total(picks, objective))
        for objective in objectives
    ]


def _tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10)


def _nsga2(seed: int) -> BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=_POPULATION)
