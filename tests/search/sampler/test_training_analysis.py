"""What trainings say together: the ranking, the gain, and when a search has seen enough."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bamsearch.records import Design, Insertion, RunRecord, Trial
from bamsearch.sampler.training_analysis import analyse_trainings, expected_regret, trainings_of

A, B = Insertion("s0", 1, 1), Insertion("s2", 2, 1)


def trial(number: int, seed: int, score: float | None, *insertions: Insertion, **others) -> Trial:
    design = Design("net", (3, 9, 9), insertions)
    return Trial(number, design, score, 1000, 10**9, seed=seed, **others)


@pytest.fixture
def record(engine) -> RunRecord:
    return RunRecord(
        engine.planned(score="train").run,
        trials=(
            trial(0, 0, 71.0, A),
            trial(1, 1, 70.0, A),
            trial(2, 0, 73.0, B),
            trial(3, 0, None, A, B, state="stopped", curve=(40.0,), expected=60.0),
            trial(4, 0, None, B, state="failed", reason="no memory"),
        ),
        baselines=(
            ("base", trial(0, 0, 70.0)),
            ("base", trial(1, 1, 70.5)),
            ("largest", trial(2, 0, 73.0, B)),
        ),
    )


def test_a_training_counts_once_and_a_stopped_one_as_it_was_expected(record):
    assert trainings_of(record) == [
        ((), 70.0, 0),
        ((), 70.5, 1),
        ((B,), 73.0, 0),
        ((A,), 71.0, 0),
        ((A,), 70.0, 1),
        ((A, B), 60.0, 0),
    ]


def test_effects_are_of_trainings_that_ended(record):
    assert trainings_of(record, ended=True) == trainings_of(record)[:-1]


def test_the_ranking_has_every_design_once(toys, record):
    space = toys.three_sites()
    result = analyse_trainings(record, space)
    assert result is not None
    assert result.trainings == 6
    assert {estimate.insertions: estimate.trainings for estimate in result.ranking} == {
        (): 2,
        (A,): 2,
        (B,): 1,
        (A, B): 1,
    }
    assert sum(estimate.chance for estimate in result.ranking) == pytest.approx(1, abs=1e-3)
    assert [estimate.mean for estimate in result.ranking] == sorted(
        (estimate.mean for estimate in result.ranking), reverse=True
    )
    for estimate in result.ranking:
        assert estimate.low < estimate.mean < estimate.high
    best = result.of((B,))
    worst = result.of((A, B))
    assert best is not None
    assert worst is not None
    assert best.mean > worst.mean
    # One training of 73 among others near 70 is partly luck.
    assert best.mean < 73.0
    base, gain = result.of(()), result.gain
    assert base is not None
    assert gain is not None
    assert result.ranking[0] == best
    assert gain.points == pytest.approx(best.mean - base.mean, abs=1e-3)
    assert gain.low < gain.points < gain.high


def test_nothing_is_said_of_three_trainings(toys, record):
    few = replace(record, trials=record.trials[:1])
    assert analyse_trainings(replace(few, baselines=few.baselines[:2]), toys.three_sites()) is None


def test_a_failed_training_is_named_and_in_no_effect(toys, record):
    space = toys.three_sites()
    failed = trial(5, 1, 10.0, B)
    spoilt = analyse_trainings(replace(record, trials=(*record.trials, failed)), space)
    plain = analyse_trainings(record, space)
    assert spoilt is not None
    assert plain is not None
    assert spoilt.remarks == (
        "Far below all other trainings, so used for their own designs only: 60.00, 10.00%.",
    )
    assert spoilt.effects == plain.effects
    best = spoilt.of((B,))
    assert best is not None
    assert best.trainings == 2
    assert best.mean == pytest.approx(plain.of((B,)).mean, abs=0.1)


def test_no_interval_ends_above_100_percent(toys, record):
    def near_100(trial):
        value = None if trial.score is None else trial.score + 26.9
        return replace(trial, score=value, expected=None if value else trial.expected)

    trials = tuple(near_100(t) for t in record.trials if t.score is not None)
    baselines = tuple((kind, near_100(t)) for kind, t in record.baselines)
    result = analyse_trainings(
        replace(record, trials=trials, baselines=baselines), toys.three_sites()
    )
    assert result is not None
    assert max(estimate.high for estimate in result.ranking) == 100.0
    assert all(estimate.low < estimate.mean < estimate.high for estimate in result.ranking)


def clear_cut(noise: float) -> list[tuple[tuple[int, ...], float, int]]:
    """Three seeds of the base and of designs, one of which is two points better."""
    worth = {(0, 0, 0): 70.0, (0, 0, 2): 72.0, (1, 0, 0): 70.0, (0, 1, 0): 70.0, (0, 0, 1): 70.5}
    return [
        (encoding, mean + noise * sign, seed)
        for seed, sign in enumerate((-1, 0, 1))
        for encoding, mean in worth.items()
    ]


def test_stopping_costs_little_where_the_best_is_clear_and_more_where_it_is_not(toys):
    space = toys.three_sites()
    clear, noisy = (expected_regret(space, clear_cut(noise), 0) for noise in (0.02, 2.0))
    assert 0 <= clear < 0.5 < noisy


def test_further_seeds_of_the_base_do_not_start_a_search_again(toys):
    space = toys.three_sites()
    trainings = clear_cut(1.0)
    without = [t for t in trainings if any(t[0]) or t[2] == 0]
    assert expected_regret(space, trainings, 0) == expected_regret(space, without, 0)


def test_nothing_stops_before_anything_is_known(toys):
    assert expected_regret(toys.three_sites(), clear_cut(1.0)[:3], 0) == float("inf")
