"""Which designs are timed under a budget of time; the clock is a table."""

from types import SimpleNamespace

import pytest

from bamsearch.profiling import timing
from bamsearch.profiling.summary import summarise
from bamsearch.records import Budget, Insertion, Run, RunRecord, Trial
from bamsearch.study.finalists import time_finalists

SITES = ("layer1", "layer2", "layer3", "layer4")


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(
        name="timed",
        summary=summarise("resnet18", (32, 32)),
        variant="paper",
        init="paper",
        num_classes=None,
        space={"name": "stages"},
        with_stem=False,
        budgets=(Budget("ms", "12", 12_000_000, 10_000_000),),
        score="params",
        objectives=("score",),
        sampler="gp",
        seed=0,
        trials=10,
        designs=100,
        feasible_designs=50,
        latency={"samples": 3, "batch_size": 1, "dtype": "float32", "mode": "eager", "threads": 1},
    )


def trial(run: Run, number: int, score: float, *reductions: int) -> Trial:
    sites = [Insertion(s, r, 1) for s, r in zip(SITES, reductions, strict=False) if r]
    return Trial(number, run.design(sites), score, 1, 1)


@pytest.fixture
def ratios(monkeypatch) -> dict[int, float]:
    """Number of parameters of the BAMs to the ratio that is measured; the base takes 10 ms."""
    finalists: dict[int, float] = {}

    def time_pair(base, inserted, shape, **how):
        added = sum(p.numel() for p in inserted.parameters())
        added -= sum(p.numel() for p in base.parameters())
        ratio = finalists[added]
        low, high = ratio - 0.05, ratio + 0.05
        return SimpleNamespace(a=SimpleNamespace(median=10.0), ratio=ratio, low=low, high=high)

    monkeypatch.setattr(timing, "time_pair", time_pair)
    return finalists


def added(channels: int, hidden: int) -> int:
    """Parameters of a BAM, DESIGN's closed form."""
    return 3 * channels * hidden + 18 * hidden**2 + 5 * hidden + 3 * channels + 3


def test_the_best_are_timed_until_three_are_kept_and_then_the_paper_default(run, ratios):
    # C is 64, 128, 256, 512; h = C // r.
    trials = [
        trial(run, 0, 9.0, 4),
        trial(run, 1, 8.0, 8),
        trial(run, 2, 7.0, 16),
        trial(run, 3, 6.0, 32),
        trial(run, 4, 5.0, 0, 32),
    ]
    paper = trial(run, 1, 1.0, 16, 16, 16)
    ratios[added(64, 16)] = 1.16  # its interval ends at 1.21 of 10 ms: over the budget
    ratios[added(64, 8)] = 1.1
    ratios[added(64, 4)] = 1.05
    ratios[added(64, 2)] = 1.02
    ratios[added(64, 4) + added(128, 8) + added(256, 16)] = 1.3
    record = RunRecord(run, tuple(trials), (("paper", paper),))
    finalists = time_finalists(record)
    assert [finalist.design for finalist in finalists] == [
        *(trial.design for trial in trials[:4]),
        paper.design,
    ]
    assert [finalist.kept for finalist in finalists] == [False, True, True, True, False]
    assert [round(finalist.ms, 3) for finalist in finalists] == [11.6, 11.0, 10.5, 10.2, 13.0]
    assert [finalist.base_ms for finalist in finalists] == [10.0] * 5
    assert round(finalists[1].low, 3) == 10.5
    assert round(finalists[1].high, 3) == 11.5


def test_a_paper_default_among_the_best_is_timed_once(run, ratios):
    paper = trial(run, 0, 9.0, 16, 16, 16)
    ratios[added(64, 4) + added(128, 8) + added(256, 16)] = 1.1
    finalists = time_finalists(RunRecord(run, (paper,), (("paper", paper),)))
    assert [finalist.design for finalist in finalists] == [paper.design]
