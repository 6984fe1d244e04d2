"""Small spaces with costs made up, and what is in them by going through every design."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bamsearch.records import Budget, Cost, Design, ModelSummary, Quantity, RunRecord, Site
from bamsearch.sampler.noisy import NoisySampler
from bamsearch.space.choices import Choice, Encoding, Option, SearchSpace
from bamsearch.space.feasible import Feasible, feasible
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import SearchPlan, SearchRequest, plan_of_run, plan_search
from bamsearch.study.run import SearchOptions, run_search

OFF = Option()


def make_space(choices: Sequence[Sequence[Option]]) -> SearchSpace:
    """A space of choices with these options, at sites s0, s1, …"""
    sites = [Site(f"s{n}", 8, 9, 9, 4, "NCHW", "block") for n in range(len(choices))]
    space_choices = tuple(
        Choice(site.name, (site,), tuple(options))
        for site, options in zip(sites, choices, strict=True)
    )
    base = Cost(1000, 10**9, 10**9)
    return SearchSpace(
        "toy", ModelSummary("net", (3, 9, 9), "", (3, 9, 9), tuple(sites), base), space_choices
    )


def random_space(seed: int, *, required: bool = False) -> SearchSpace:
    """Up to five choices of few kinds; options of a kind often cost the same."""
    generator = random.Random(seed)

    def options() -> list[Option]:
        drawn = []
        for reduction in range(1, generator.randint(2, 4)):
            costs = [generator.randint(1, 9) for _ in range(4)]
            for dilation in generator.sample([1, 2, 4, 6], generator.randint(1, 2)):
                drawn.append(
                    Option(reduction, dilation, costs[0], costs[1] * 10**5, costs[2], costs[3])
                )
        return drawn if required and generator.random() < 0.5 else [OFF, *drawn]

    kinds = [options() for _ in range(generator.randint(1, 3))]
    choices = []
    for _ in range(generator.randint(1, 5)):
        kind = generator.choice(kinds)
        rest = kind[kind[0].off :]
        choices.append([*kind[: kind[0].off], *generator.sample(rest, len(rest))])
    return make_space(choices)


def budget(quantity: Quantity, slack: int) -> Budget:
    """A budget that leaves so much to BAM."""
    base = {"params": 1000, "gflops": 10**9, "memory": 1000, "ms": 1000}[quantity]
    return Budget(quantity, "some", base + slack, base)


def random_budgets(seed: int, space: SearchSpace, number: int) -> list[Budget]:
    """Budgets of different quantities that bite, or nearly, or admit nothing."""
    generator = random.Random(seed)
    quantities: list[Quantity] = ["params", "gflops", "memory", "ms"]
    budgets = []
    for quantity in generator.sample(quantities, number):
        most = sum(max(o.cost(quantity) for o in choice.options) for choice in space.choices)
        budgets.append(budget(quantity, int(most * generator.uniform(0, 1.1))))
    return budgets


def brute_force(space: SearchSpace, budgets: Sequence[Budget]) -> list[Encoding]:
    """Every design that fits, one by one."""
    return [
        encoding
        for encoding in product(*(range(len(choice.options)) for choice in space.choices))
        if all(
            sum(
                choice.options[number].cost(budget.quantity)
                for choice, number in zip(space.choices, encoding, strict=True)
            )
            <= budget.limit - budget.base
            for budget in budgets
        )
    ]


def three_sites() -> Feasible:
    """Three sites with four options each; not all can be large."""
    options = [OFF, *(Option(r, d, params=10 // r, macs=10) for r in (1, 2) for d in (1, 2))]
    return feasible(make_space([options] * 3), [budget("params", 25)])


def noisy_search(feasible: Feasible, seed: int, trainings: int) -> list[tuple[Encoding, float]]:
    """Trainings as proposed, where BAM helps by 2 at the last site and harms by 1 at the first.

    The noise has a deviation of 1. The base is trained three times before.
    """
    sampler, rng = NoisySampler(feasible, seed=seed), np.random.default_rng(seed)
    observed = [((0, 0, 0), float(rng.normal())) for _ in range(3)]
    for _ in range(trainings):
        encoding = sampler.suggest(observed, frozenset())
        assert encoding is not None
        assert feasible.fits(encoding)
        assert any(encoding)
        worth = 2.0 * (encoding[2] > 0) - 1.0 * (encoding[0] > 0)
        observed.append((encoding, worth + float(rng.normal())))
    return observed


class Toys:
    """What tests of small spaces share."""

    three_sites = staticmethod(three_sites)
    searched = staticmethod(noisy_search)

    space = staticmethod(make_space)
    random_space = staticmethod(random_space)
    budget = staticmethod(budget)
    random_budgets = staticmethod(random_budgets)
    brute_force = staticmethod(brute_force)


@pytest.fixture(scope="session")
def toys() -> Toys:
    return Toys()


class Engine:
    """Searches over the bottlenecks of a small resnet18, with scores that cost nothing."""

    def __init__(self) -> None:
        self._plans: dict[str, SearchPlan] = {}

    def planned(self, *, space: str = "bottlenecks", **options: Any) -> SearchPlan:
        """A search that nothing is compared with, unless asked: what else Run has, by name."""
        if space not in self._plans:
            request = SearchRequest(
                "resnet18",
                {"gflops": "+1%"},
                space=space,
                score="params",
                sampler="gp",
                input_size=(64, 64),
                compare_random=False,
                heartbeat=1,
            )
            self._plans[space] = plan_search(request)
        planned = self._plans[space]
        return replace(planned, run=replace(planned.run, **options))

    def search(
        self,
        path: Path,
        planned: SearchPlan | None = None,
        score: Callable[[Design], float] | None = None,
        **how: Any,
    ) -> RunRecord:
        """Start the search at path, or resume the one there; without a score, this one."""
        folder = RunFolder(path)
        if planned is None:
            planned = plan_of_run(folder.read_run())
        return run_search(planned, folder, SearchOptions(score=score or self.score, **how))

    @staticmethod
    def score(design: Design) -> float:
        """Any number for each design, each another one."""
        terms = ((n + 1) * (7 * i.reduction + i.dilation) for n, i in enumerate(design.insertions))
        return math.sin(sum(terms))

    @staticmethod
    def own(record: RunRecord) -> list[tuple[Design, float | None, str | None]]:
        """The search's own trials, without numbers and times."""
        return [(trial.design, trial.score, trial.reason) for trial in record.trials]

    @staticmethod
    def compared(record: RunRecord) -> list[tuple[str, Design, float | None]]:
        """What it is compared with, without numbers and times."""
        return [(kind, trial.design, trial.score) for kind, trial in record.baselines]


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine()


@pytest.fixture
def runs() -> Iterator[Path]:
    """A folder for runs, in memory where that is possible: databases wait for the disk a lot."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)
