"""What the default sampler is compared with: random, and Optuna's TPE and GP.

Each is a generator over the objective's trials: it yields a design to score and is sent the score;
None instead of a design is a trial that was spent on one that does not fit.

Optuna's samplers get what suits them: static parameters, for each choice a flag for BAM or not, and
the places of r and of d in their lists as integers, so that the order is known and the steps are
even.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from bamsearch.searching.choices import Picks
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.gp import GPProposer

Trials = Generator[Picks | None, float, None]

STARTUP = 10
ASKED_AGAIN = 6


def ours(feasible: Feasible, seed: int) -> Trials:
    """The default sampler, without the references that a search scores first."""
    proposer = GPProposer(feasible, seed=seed)
    observed: list[tuple[Picks, float]] = []
    while (picks := proposer.propose(observed, {one for one, _ in observed})) is not None:
        observed.append((picks, (yield picks)))


def random(feasible: Feasible, seed: int) -> Trials:
    """Uniformly from what fits, without replacement."""
    rng = np.random.default_rng([seed, 1])
    seen: set[Picks] = set()
    while True:
        yield _uniform(feasible, rng, seen)


def tpe_constrained(feasible: Feasible, seed: int) -> Trials:
    """TPE that is told by how much a design is over the budget."""
    return _constrained(feasible, TPESampler(multivariate=True, seed=seed))


def gp_constrained(feasible: Feasible, seed: int) -> Trials:
    """Optuna's GP that is told by how much a design is over the budget."""
    return _constrained(feasible, GPSampler(seed=seed))


def tpe_feasible(feasible: Feasible, seed: int) -> Trials:
    """TPE, asked again until a design fits and is new; after some tries, drawn uniformly.

    Its first designs are drawn uniformly from what fits, which is what asking a random sampler
    again amounts to.
    """
    rng = np.random.default_rng([seed, 2])
    space = _Encoded(feasible)
    study = _study(TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP))
    seen: set[Picks] = set()
    while True:
        picks, trial = None, None
        for _ in range(ASKED_AGAIN if len(seen) >= STARTUP else 0):
            trial = study.ask(space.distributions)
            asked = space.picks(trial.params)
            if any(asked) and asked not in seen and feasible.fits(asked):
                picks = asked
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if picks is None or trial is None:
            picks = _uniform(feasible, rng, seen)
            study.enqueue_trial(space.params(picks))
            trial = study.ask(space.distributions)
        seen.add(picks)
        study.tell(trial, (yield picks))


SAMPLERS = {
    "bamsearch": ours,
    "random": random,
    "TPE, constrained": tpe_constrained,
    "TPE, feasible only": tpe_feasible,
    "GPSampler, constrained": gp_constrained,
}


def _constrained(feasible: Feasible, sampler: BaseSampler) -> Trials:
    space = _Encoded(feasible)
    study = _study(sampler)
    slack = float(feasible.slacks[0])
    while True:
        trial = study.ask(space.distributions)
        picks = space.picks(trial.params)
        over = feasible.space.added(picks, feasible.budgets[0].quantity) / slack - 1
        trial.set_constraint("gflops", over)
        if over > 0:
            yield None
            # Optuna wants a value; of what is infeasible it uses the constraint alone.
            study.tell(trial, 0.0)
        else:
            study.tell(trial, (yield picks))


def _study(sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler)


def _uniform(feasible: Feasible, rng: np.random.Generator, seen: set[Picks]) -> Picks:
    """A design with BAM that was not seen, which is then."""
    while True:
        picks = tuple(feasible.sample(rng, 1)[0].tolist())
        if any(picks) and picks not in seen:
            seen.add(picks)
            return picks


class _Encoded:
    """Picks as Optuna's parameters; the first option of each choice is off."""

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        self._levels = [
            (
                sorted({o.reduction for o in choice.options if not o.off}),
                sorted({o.dilation for o in choice.options if not o.off}),
            )
            for choice in choices
        ]
        self._options = [
            {(o.reduction, o.dilation): number for number, o in enumerate(choice.options)}
            for choice in choices
        ]
        self._pairs = [[(o.reduction, o.dilation) for o in choice.options] for choice in choices]
        self.distributions: dict[str, BaseDistribution] = {}
        for i, (r, d) in enumerate(self._levels):
            self.distributions[f"on{i}"] = CategoricalDistribution([False, True])
            self.distributions[f"r{i}"] = IntDistribution(0, len(r) - 1)
            self.distributions[f"d{i}"] = IntDistribution(0, len(d) - 1)

    def picks(self, params: dict[str, Any]) -> Picks:
        return tuple(
            options[r[params[f"r{i}"]], d[params[f"d{i}"]]] if params[f"on{i}"] else 0
            for i, (options, (r, d)) in enumerate(zip(self._options, self._levels, strict=True))
        )

    def params(self, picks: Picks) -> dict[str, Any]:
        """Of what is off, r and d are in the middle of their lists."""
        found: dict[str, Any] = {}
        for i, ((r, d), number) in enumerate(zip(self._levels, picks, strict=True)):
            reduction, dilation = self._pairs[i][number]
            found[f"on{i}"] = number > 0
            found[f"r{i}"] = r.index(reduction) if number else len(r) // 2
            found[f"d{i}"] = d.index(dilation) if number else len(d) // 2
        return found
