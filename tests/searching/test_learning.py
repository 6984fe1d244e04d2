"""What trainings say together: the posterior against the textbook's formula, and bookkeeping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bamsearch.records import Design, Insertion, RunRecord, Trial
from bamsearch.searching.hypotheses import NOISY, hypotheses
from bamsearch.searching.kernel import Kernel
from bamsearch.searching.learning import Posterior, learn, trainings_of
from bamsearch.searching.posterior import Mixture, covariances

A, B = Insertion("s0", 1, 1), Insertion("s2", 2, 1)


def test_draws_have_the_mean_and_covariance_of_the_textbook(toys):
    there = toys.three_sites()
    kernel = Kernel(there)
    table = np.array([[0, 0, 0], [1, 0, 2], [1, 0, 2], [0, 3, 1]], dtype=np.int8)
    scores = np.array([0.0, 1.0, 0.6, -1.0])
    codes = kernel.codes(table)
    one = hypotheses(kernel, noise=NOISY)[7]
    model = Mixture(kernel, [(one, 1.0)], codes, scores)
    which = np.array([0, 1, 3])
    draws = model.draw(which, np.random.default_rng(0), 40_000)
    # Rasmussen and Williams 2006, equations 2.23 and 2.24, times the expected scale.
    with_noise = covariances(kernel, [one], codes)[0]
    plain = covariances(kernel, [replace(one, noise=-1e-6)], codes)[0]
    solved = np.linalg.solve(with_noise, plain[:, which])
    scale = (2 + 0.5 * scores @ np.linalg.solve(with_noise, scores)) / (2 + 0.5 * len(scores))
    mean = solved.T @ scores
    covariance = scale * (plain[np.ix_(which, which)] - plain[which] @ solved)
    assert draws.mean(axis=0) == pytest.approx(mean, abs=0.02)
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.02)
    assert model.noise == pytest.approx(np.sqrt(scale * one.noise))


def test_accuracies_keep_their_unit(toys):
    there = toys.three_sites()
    observed = toys.searched(there, 0, 20)
    moved = [(picks, 70 + 3 * value) for picks, value in observed]
    plain, found = Posterior(Kernel(there), observed), Posterior(Kernel(there), moved)
    assert found.mean == pytest.approx(70 + 3 * plain.mean, abs=1e-6)
    assert found.noise == pytest.approx(3 * plain.noise, rel=1e-6)
    assert found.draw(100, 5) == pytest.approx(70 + 3 * plain.draw(100, 5), abs=1e-5)


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
        references=(
            ("base", trial(0, 0, 70.0)),
            ("base", trial(1, 1, 70.5)),
            ("largest", trial(2, 0, 73.0, B)),
        ),
    )


def test_a_training_counts_once_and_a_stopped_one_as_it_was_expected(record):
    assert trainings_of(record) == [
        ((), 70.0),
        ((), 70.5),
        ((B,), 73.0),
        ((A,), 71.0),
        ((A,), 70.0),
        ((A, B), 60.0),
    ]


def test_effects_are_of_trainings_that_ended(record):
    assert trainings_of(record, ended=True) == trainings_of(record)[:-1]


def test_the_ranking_has_every_design_once(toys, record):
    there = toys.three_sites()
    found = learn(record, there)
    assert found is not None
    assert found.trainings == 6
    assert {one.insertions: one.trainings for one in found.ranking} == {
        (): 2,
        (A,): 2,
        (B,): 1,
        (A, B): 1,
    }
    assert sum(one.chance for one in found.ranking) == pytest.approx(1, abs=1e-3)
    assert [one.mean for one in found.ranking] == sorted(
        (one.mean for one in found.ranking), reverse=True
    )
    for one in found.ranking:
        assert one.low < one.mean < one.high
    best = found.of((B,))
    worst = found.of((A, B))
    assert best is not None
    assert worst is not None
    assert best.mean > worst.mean
    # One training of 73 among others near 70 is partly luck.
    assert best.mean < 73.0
    base, gain = found.of(()), found.gain
    assert base is not None
    assert gain is not None
    assert found.ranking[0] == best
    assert gain.points == pytest.approx(best.mean - base.mean, abs=0.1)
    assert gain.low < gain.points < gain.high


def test_nothing_is_said_of_three_trainings(toys, record):
    few = replace(record, trials=record.trials[:1])
    assert learn(replace(few, references=few.references[:2]), toys.three_sites()) is None
