import pytest
from scipy import stats

from bamsearch.profiling.summary import summarise
from bamsearch.records import Insertion, Run, RunRecord, Trial
from bamsearch.reporting.run_statistics import size_correlation


@pytest.fixture
def record():
    """``record([(score, params, macs, BAMs), …])``: trials that differ in their dilations."""
    run = Run(
        name="r",
        summary=summarise("resnet18", (64, 64)),
        variant="paper",
        init="paper",
        num_classes=None,
        space={},
        with_stem=False,
        budgets=(),
        score="mine",
        objectives=("score",),
        sampler="gp",
        seed=0,
        trials=9,
        designs=99,
        feasible_designs=99,
    )

    def make(rows):
        trials = [
            Trial(
                n,
                run.design([Insertion(f"layer{i + 1}", 4, n + 1) for i in range(bams)]),
                score,
                params,
                macs,
            )
            for n, (score, params, macs, bams) in enumerate(rows)
        ]
        return RunRecord(run, tuple(trials))

    return make


def test_ranks_by_hand(record):
    # Scores rank 1 2 3 4; params 1 2 3 4; macs 4 3 2 1; BAMs 1 2.5 2.5 4 (a tie).
    rows = [(0.1, 10, 9, 1), (5.0, 20, 8, 2), (5.5, 21, 7, 2), (90.0, 22, 6, 3)]
    correlation = size_correlation(record(rows))
    assert (correlation.params, correlation.macs, correlation.designs) == pytest.approx(
        (1.0, -1.0, 4)
    )
    assert correlation.bams == pytest.approx(
        stats.pearsonr([1, 2, 3, 4], [1, 2.5, 2.5, 4]).statistic
    )
    assert correlation.mostly_size


def test_what_does_not_vary_has_no_rank(record):
    correlation = size_correlation(record([(1.0, 10, 5, 1), (1.0, 20, 5, 2)]))
    assert (correlation.params, correlation.macs, correlation.bams) == (None, None, None)
    assert not correlation.mostly_size


def test_failed_trials_and_the_base_do_not_count(record):
    rows = [(9.0, 1, 1, 0), (None, 99, 99, 1), (1.0, 10, 1, 1), (3.0, 20, 9, 1), (2.0, 30, 4, 1)]
    correlation = size_correlation(record(rows))
    assert correlation.designs == 3
    # Ranks 1 3 2 against 1 2 3: 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert correlation.params == pytest.approx(0.5)
    assert correlation.bams is None
    assert correlation.macs == pytest.approx(1.0)
