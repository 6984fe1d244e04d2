"""Records of runs that never were, small enough to work out by hand."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bamsearch.records import (
    Accuracy,
    AccuracyEstimate,
    Budget,
    Cost,
    DataFacts,
    Difference,
    Effect,
    Evidence,
    Gain,
    Insertion,
    ModelSummary,
    Run,
    RunRecord,
    Site,
    TrainingAnalysis,
    Trial,
)

STEM = Site("relu", 4, 16, 16, 2, "NCHW", "stem", "maxpool")
ONE = Site("layer1", 8, 8, 8, 4, "NCHW", "bottleneck", "layer2")
TWO = Site("layer2", 16, 4, 4, 8, "NCHW", "bottleneck", "layer3")
HEAD = Site("layer3", 32, 2, 2, 16, "NCHW", "head", "avgpool")

RUN = Run(
    name="net-001",
    summary=ModelSummary(
        "net", (3, 32, 32), "", (3, 32, 32), (STEM, ONE, TWO, HEAD), Cost(1000, 100_000, 90_000)
    ),
    variant="paper",
    init="paper",
    num_classes=None,
    space={"name": "stages", "sites": "stages", "reductions": [4, 8], "dilations": [1, 2]},
    with_stem=False,
    budgets=(Budget("gflops", "+20%", 120_000, 100_000),),
    score="snip",
    objectives=("score",),
    sampler="gp",
    seed=7,
    trials=4,
    designs=125,
    feasible_designs=25,
    command="bamsearch search net --budget-gflops +20% --seed 7",
    versions={"bamsearch": "0.1.0", "torch": "2.14.1"},
    created="2026-01-02T03:04:05+00:00",
)

# r = 4 at layer1, worked out by hand from DESIGN's formula: C = 8, h = 2, 8x8.
PARAMS_AT_ONE = 3 * 8 * 2 + 18 * 4 + 5 * 2 + 3 * 8 + 3
MACS_AT_ONE = 64 * (8 * 2 + 18 * 4 + 2) + 2 * 8 * 2 + 8 * 64 + 2 * 8 + 2 * 64


def trial(
    number: int, score: float | None, *sites: tuple[str, int, int], run: Run = RUN, **rest: Any
) -> Trial:
    """A trial; its costs are the base's and 100 parameters, 1,000 multiply-adds a BAM."""
    insertions = [Insertion(*site) for site in sites]
    costs = {"params": 1000 + 100 * len(sites), "macs": 100_000 + 1000 * len(sites)} | rest
    state = "failed" if score is None else "complete"
    return Trial(number, run.design(insertions), score, state=state, **costs)


def small_record(**changes: Any) -> RunRecord:
    """Four trials, one failed, and all references."""
    run = replace(RUN, **changes)
    trials = (
        trial(0, 5.0, ("layer1", 4, 1), ("layer2", 4, 1), run=run, seconds=2.0),
        trial(1, None, ("layer2", 8, 1), run=run, reason="out of luck", seconds=1.0),
        trial(3, 9.0, ("layer2", 4, 2), run=run, retries=1, seconds=4.0),
        trial(6, 7.0, ("layer1", 8, 2), run=run),
    )
    baselines = (
        ("base", trial(0, 1.0, run=run)),
        ("paper", trial(1, 4.0, ("layer1", 16, 4), ("layer2", 16, 4), run=run)),
        ("largest", trial(2, 6.0, ("layer1", 4, 1), ("layer3", 4, 1), run=run, params=1900)),
        ("random", trial(3, 2.0, ("layer3", 8, 1), run=run)),
        ("random", trial(4, 8.0, ("layer3", 4, 1), run=run)),
    )
    return RunRecord(run, trials, baselines)


EVIDENCE = Evidence(
    data="fashion-mnist",
    data_hash="abc123",
    confidence=0.95,
    accuracies={"base": Accuracy(90.0, 89.5, 90.5, 5), "found": Accuracy(90.41, 90.0, 90.8, 5)},
    differences=(
        Difference("base", 0.41, 0.12, 0.70, 5),
        Difference("paper", 0.07, -0.21, 0.35, 5, seeds_needed=14, detectable=0.3),
    ),
    command="bamsearch verify net-001",
)


# What trainings said of the run below: no model's output, but values to be found again.
LEARNED = TrainingAnalysis(
    trainings=8,
    noise=0.31,
    confidence=0.95,
    effects=(
        Effect("site", ("layer1",), -0.1, -0.4, 0.2, 3),
        Effect("site", ("layer2",), 0.42, 0.11, 0.73, 4),
        Effect("r", ("layer1", "layer2"), -0.05, -0.33, 0.23, 5),
    ),
    ranking=(
        AccuracyEstimate((Insertion("layer2", 4, 2),), 91.3, 90.95, 91.65, 2, 0.7),
        AccuracyEstimate(
            (Insertion("layer1", 4, 1), Insertion("layer2", 4, 1)), 91.2, 90.7, 91.7, 1, 0.3
        ),
        AccuracyEstimate((Insertion("layer2", 8, 1),), 91.0, 90.4, 91.6, 1, 0.0),
        AccuracyEstimate((), 90.8, 90.4, 91.2, 2, 0.004),
        AccuracyEstimate(
            (Insertion("layer1", 16, 4), Insertion("layer2", 16, 4)), 90.7, 90.1, 91.3, 1, 0
        ),
        AccuracyEstimate((Insertion("layer1", 8, 2),), 88.5, 87.5, 89.5, 1, 0.0),
    ),
    gain=Gain(0.5, 0.1, 0.9),
    remarks=("Pairs of sites are not told apart.",),
)


def learned_record() -> RunRecord:
    """A run that trains: a design with two seeds, a lucky one, one stopped early, one failed."""
    data = DataFacts("digits", (3, 32, 32), 10, 1000, 200, 300, "abc", 0)
    run = replace(RUN, score="train", trials=6, data=data, name="net-train")
    trials = (
        trial(0, 91.0, ("layer2", 4, 2), run=run, seed=0, curve=(85.0, 91.0), seconds=3.0),
        trial(1, 92.0, ("layer1", 4, 1), ("layer2", 4, 1), run=run, seed=0, curve=(84.5, 92.0)),
        replace(
            trial(2, None, ("layer1", 8, 2), run=run, seed=0, curve=(80.5,)),
            state="stopped",
            reason="could not win",
        ),
        trial(3, None, ("layer2", 8, 2), run=run, seed=0, reason="the loss is no number"),
        trial(4, 91.5, ("layer2", 4, 2), run=run, seed=1, curve=(86.0, 91.5)),
        trial(5, 90.9, ("layer2", 8, 1), run=run, seed=0, curve=(83.0, 90.9)),
    )
    baselines = (
        ("base", trial(0, 90.5, run=run, seed=0)),
        ("base", trial(1, 91.0, run=run, seed=1)),
        ("paper", trial(2, 90.5, ("layer1", 16, 4), ("layer2", 16, 4), run=run, seed=0)),
    )
    return RunRecord(run, trials, baselines, analysis=LEARNED)


@pytest.fixture
def record() -> RunRecord:
    return small_record()


@pytest.fixture
def learned() -> RunRecord:
    """The record of a run that trains."""
    return learned_record()


@pytest.fixture
def record_with() -> Callable[..., RunRecord]:
    """``record_with(score="params")``: the small record of a run that differs in that."""
    return small_record


@pytest.fixture
def trained(record: RunRecord) -> RunRecord:
    """The small record with a trained comparison."""
    return replace(record, evidence=EVIDENCE)


@pytest.fixture
def empty() -> RunRecord:
    """A run without finished trials."""
    return RunRecord(RUN)


@pytest.fixture(scope="session")
def big_record() -> RunRecord:
    """10,000 trials and as many random ones, over 20 sites with 16 choices each."""
    rng = random.Random(0)
    sites = tuple(Site(f"features.{n}", 64, 14, 14, 16, "NCHW", "block") for n in range(20))
    summary = replace(RUN.summary, sites=sites)
    run = replace(RUN, summary=summary, trials=10_000, feasible_designs=10**20, designs=10**24)

    def drawn(number: int) -> Trial:
        taken = rng.sample([site.name for site in sites], rng.randint(1, 20))
        insertions = [
            (name, rng.choice([4, 8, 16, 32]), rng.choice([1, 2, 4, 6])) for name in taken
        ]
        macs = 100_000 + rng.randrange(20_000)
        score = macs * rng.random()
        return trial(number, score, *insertions, run=run, macs=macs)

    trials = tuple(drawn(number) for number in range(10_000))
    random_ones = tuple(("random", drawn(number)) for number in range(10_000))
    return RunRecord(run, trials, (("base", trial(0, 10.0, run=run)), *random_ones))
