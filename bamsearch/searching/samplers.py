"""What ``--sampler`` names: an Optuna sampler that proposes only new designs that fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from bamsearch.errors import InvalidValueError
from bamsearch.records import Objective
from bamsearch.score.table import COSTS
from bamsearch.searching.choices import Picks, SearchSpace
from bamsearch.searching.feasible import Feasible, Listed
from bamsearch.searching.gp import GPProposer
from bamsearch.searching.hypotheses import hypotheses, noisy_hypotheses
from bamsearch.searching.noisy import NoisyProposer
from bamsearch.searching.optuna_proposer import OptunaProposer, nsga2, tpe
from bamsearch.searching.params import distributions, params_of, picks_of
from bamsearch.searching.proposers import Proposer, RandomProposer, SortedProposer
from bamsearch.searching.trials import EXPECTED, REASON, first_number

SAMPLERS = {
    "gp": "a Gaussian process over sites, r and d, maximised over the designs that fit",
    "tpe": "Optuna's TPE, asked again until a proposal fits",
    "nsga2": "Optuna's NSGA-II, asked again until a proposal fits",
    "sorted": "from the largest score down: scores params and macs",
    "random": "uniformly from what fits",
    "exhaustive": "every design that fits, in random order",
}
"""What ``--sampler`` takes, the default first."""


def make_proposer(
    sampler: str,
    feasible: Feasible,
    objectives: Sequence[Objective],
    seed: int,
    *,
    score: str = "",
    repeats: bool = False,
) -> Proposer:
    """The proposer that ``--sampler`` names.

    Args:
        sampler: its name.
        feasible: what fits.
        objectives: of the search.
        seed: of its random numbers.
        score: of the search; ``sorted`` takes only those in ``COSTS``.
        repeats: whether it may propose a design again, as a noisy score needs; gp only.

    Raises:
        InvalidValueError: no such sampler.
    """
    if sampler == "gp" and repeats and tuple(objectives) == ("score",):
        return NoisyProposer(feasible, seed)
    if sampler == "gp":
        drawn = noisy_hypotheses if repeats else hypotheses
        return GPProposer(feasible, objectives, seed=seed, drawn=drawn)
    if sampler == "tpe":
        return OptunaProposer(feasible, objectives, seed, tpe)
    if sampler == "nsga2":
        return OptunaProposer(feasible, objectives, seed, nsga2)
    if sampler in ("random", "exhaustive"):
        return RandomProposer(feasible, seed)
    if sampler == "sorted":
        if score not in COSTS or not isinstance(feasible, Listed):
            raise InvalidValueError(
                f"sampler sorted takes score {' or '.join(COSTS)} and a listed set, not {score!r}"
            )
        return SortedProposer(feasible, COSTS[score])
    raise InvalidValueError(f"no sampler is called {sampler!r}: there are {', '.join(SAMPLERS)}")


class FeasibleSampler(BaseSampler):
    """An Optuna sampler that proposes only designs that fit; for any study of this space.

    Args:
        proposer: what decides.
        space: whose choices are the parameters, each with its options' labels.
        objectives: of the study, in its order; the score is one of them.
        repeats: whether a design that was scored may be proposed again.

    Attributes:
        also: designs scored elsewhere, such as the base, and their scores.
    """

    def __init__(
        self,
        proposer: Proposer,
        space: SearchSpace,
        objectives: Sequence[Objective] = ("score",),
        *,
        repeats: bool = False,
    ) -> None:
        self.proposer = proposer
        self.space = space
        self.also: list[tuple[Picks, float]] = []
        self._score = list(objectives).index("score")
        self._repeats = repeats
        self._settled: list[FrozenTrial] = []
        self._read: tuple[list[tuple[Picks, float]], set[Picks]] = [], set()

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
        return self.proposer.propose(*self.observed(trials))

    def observed(
        self, trials: Sequence[FrozenTrial]
    ) -> tuple[list[tuple[Picks, float]], set[Picks]]:
        """Designs with scores, and designs that must not be proposed.

        Leading trials that have ended are read once, so that a proposal does not take longer with
        every trial.
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
        # As one worker finishes them, which no clock that is set back can change.
        for trial in sorted(trials[len(self._settled) :], key=first_number):
            self._add(trial, observed, excluded)
        return [*self.also, *observed], excluded

    def _continues(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the trials that were read lead these, and no later one is a copy of them."""
        number = len(self._settled)
        if not number:
            return True
        leads = len(trials) >= number and trials[number - 1] is self._settled[-1]
        return leads and all(first_number(t) >= number for t in trials[number:])

    def _add(
        self, trial: FrozenTrial, observed: list[tuple[Picks, float]], excluded: set[Picks]
    ) -> None:
        try:
            picks = picks_of(self.space, trial.params)
        except KeyError:
            # It has not all of its parameters yet, or other ones.
            return
        if trial.state == TrialState.COMPLETE:
            observed.append((picks, trial.values[self._score]))
        if trial.state == TrialState.PRUNED and EXPECTED in trial.user_attrs:
            observed.append((picks, trial.user_attrs[EXPECTED]))
        ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        at_work = trial.state in (TrialState.RUNNING, TrialState.WAITING)
        if at_work or (ended and not self._repeats) or REASON in trial.user_attrs:
            excluded.add(picks)

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
