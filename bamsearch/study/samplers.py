"""The samplers by name, and the Optuna sampler that proposes feasible designs only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import InvalidValueError
from bamsearch.records import Objective
from bamsearch.sampler.basic_samplers import RandomSampler, Sampler, SortedSampler
from bamsearch.sampler.gp import GPSampler
from bamsearch.sampler.noisy import NoisySampler
from bamsearch.sampler.optuna_sampler import OptunaSampler, distributions, encoding_of, params_of
from bamsearch.score.table import COSTS
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.space.feasible import Feasible, Listed
from bamsearch.study.store import EXPECTED, REASON, first_number

SAMPLERS = {
    "gp": "a Gaussian process over sites, r and d, maximised over the feasible designs",
    "tpe": "Optuna's TPE, resampled until a proposal is feasible",
    "nsga2": "Optuna's NSGA-II, resampled until a proposal is feasible",
    "sorted": "from the largest score down: scores params and macs",
    "random": "uniform draws from the feasible designs",
    "exhaustive": "all feasible designs, in random order",
}
"""Descriptions of the values of ``--sampler``, the default first."""


def make_sampler(
    sampler: str,
    feasible: Feasible,
    objectives: Sequence[Objective],
    seed: int,
    *,
    score: str = "",
    repeats: bool = False,
) -> Sampler:
    """Make a sampler by name.

    Raises:
        InvalidValueError: no such sampler.
    """
    if sampler == "gp" and repeats and tuple(objectives) == ("score",):
        return NoisySampler(feasible, seed)
    if sampler == "gp":
        return GPSampler(feasible, objectives, seed=seed, noisy=repeats)
    if sampler in ("tpe", "nsga2"):
        return OptunaSampler(feasible, objectives, seed, sampler)
    if sampler in ("random", "exhaustive"):
        return RandomSampler(feasible, seed)
    if sampler == "sorted":
        if score not in COSTS or not isinstance(feasible, Listed):
            raise InvalidValueError(
                f"sampler sorted needs score {' or '.join(COSTS)} and a listed set, not {score!r}"
            )
        return SortedSampler(feasible, COSTS[score])
    raise InvalidValueError(f"no sampler is called {sampler!r}: choose from {', '.join(SAMPLERS)}")


class FeasibleSampler(BaseSampler):
    """An Optuna sampler that proposes feasible designs only; for any study of this space.

    Attributes:
        also: designs scored elsewhere, such as the base, with their scores.
    """

    def __init__(
        self,
        sampler: Sampler,
        space: SearchSpace,
        objectives: Sequence[Objective] = ("score",),
        *,
        repeats: bool = False,
    ) -> None:
        self.sampler = sampler
        self.space = space
        self.also: list[tuple[Encoding, float]] = []
        self._score = list(objectives).index("score")
        self._repeats = repeats
        self._settled: list[FrozenTrial] = []
        self._read: tuple[list[tuple[Encoding, float]], set[Encoding]] = [], set()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices, which are sampled jointly."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of a feasible design; empty if all have been proposed."""
        if not search_space:
            return {}
        encoding = self.suggest(
            [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        )
        return {} if encoding is None else params_of(self.space, encoding)

    def suggest(self, trials: Sequence[FrozenTrial]) -> Encoding | None:
        """Propose the next design from the other trials of a study; None if none remains."""
        return self.sampler.suggest(*self.observed(trials))

    def observed(
        self, trials: Sequence[FrozenTrial]
    ) -> tuple[list[tuple[Encoding, float]], set[Encoding]]:
        """The scored designs, and the designs that must not be proposed.

        Leading trials that have ended are read once, so the time per proposal does not grow with
        the number of trials.
        """
        if not self._continues(trials):
            self._settled, self._read = [], ([], set())
        observed, excluded = self._read
        for trial in trials[len(self._settled) :]:
            if not trial.state.is_finished() or first_number(trial) != trial.number:
                break
            self._settled.append(trial)
            self._add(trial, observed, excluded)
        observed, excluded = observed.copy(), excluded.copy()
        # The order in which a single worker finishes them; timestamps would depend on the clock.
        for trial in sorted(trials[len(self._settled) :], key=first_number):
            self._add(trial, observed, excluded)
        return [*self.also, *observed], excluded

    def _continues(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these trials begin with the cached ones, and no later trial is a copy of them."""
        number = len(self._settled)
        if not number:
            return True
        leads = len(trials) >= number and trials[number - 1] is self._settled[-1]
        return leads and all(first_number(t) >= number for t in trials[number:])

    def _add(
        self, trial: FrozenTrial, observed: list[tuple[Encoding, float]], excluded: set[Encoding]
    ) -> None:
        try:
            encoding = encoding_of(self.space, trial.params)
        except KeyError:
            # Its parameters are incomplete, or of another space.
            return
        if trial.state == TrialState.COMPLETE:
            observed.append((encoding, trial.values[self._score]))
        if trial.state == TrialState.PRUNED and EXPECTED in trial.user_attrs:
            observed.append((encoding, trial.user_attrs[EXPECTED]))
        ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        unfinished = trial.state in (TrialState.RUNNING, TrialState.WAITING)
        if unfinished or (ended and not self._repeats) or REASON in trial.user_attrs:
            excluded.add(encoding)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Always raises: called for a parameter outside the space, or if no design remains."""
        raise InvalidValueError(
            f"{param_name} cannot be sampled: it is not a choice of space {self.space.name}, "
            "or all feasible designs have been proposed"
        )
