"""What is proposed where a score is of one training: new designs, and contenders again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bamsearch.evidence.audit.sample import stratified_by_site_set, varied_site_sets
from bamsearch.sampler.noisy import FIRST, Features, NoisyModel, NoisySampler, covariance
from bamsearch.sampler.training_analysis import TrainingModel
from bamsearch.space.choices import Option
from bamsearch.space.feasible import Listed, feasible


def test_the_first_designs_are_expensive_and_far_apart(toys):
    feasible_set = toys.three_sites()
    costs = [
        sum(feasible_set.space.added(encoding, "params") for encoding in [row])
        for row in feasible_set.table
    ]
    for seed in range(20):
        # With the base, which is there already, they are FIRST designs.
        first = [encoding for encoding, _ in toys.searched(feasible_set, seed, FIRST - 1)[3:]]
        assert len(set(first)) == FIRST - 1
        assert min(
            feasible_set.space.added(encoding, "params") for encoding in first
        ) >= np.quantile(costs, 0.75)
        apart = [sum(a != b for a, b in zip(first[0], other, strict=True)) for other in first[1:]]
        assert apart[0] == 3  # of three choices


def test_the_covariance_is_that_of_the_definition(toys):
    """Term by term, choice by choice, in the notation of the module."""
    feasible_set = toys.three_sites()
    features = Features(feasible_set)
    rows = feasible_set.table[[0, 7, 20, 41]]
    draw = features.draws()[3]
    options = [choice.options for choice in feasible_set.space.choices]
    options_seen = sorted({("", o.reduction, o.dilation) for each in options for o in each})
    sampled = feasible_set.sample(np.random.default_rng(0), 500)

    def terms(row):
        chosen = [each[n] for each, n in zip(options, row, strict=True)]
        size = np.log(1000 + sum(o.params for o in chosen))
        logs = np.array([[np.log2(r), np.log2(d)] for _, r, d in options_seen if r])
        phi = np.zeros(3)
        for o in chosen:
            if not o.off:
                pair = np.log2([o.reduction, o.dilation])
                phi += np.array([1.0, *((pair - logs.mean(axis=0)) / logs.std(axis=0))])
        return (
            [options_seen.index(("", o.reduction, o.dilation)) for o in chosen],
            size,
            phi / np.sqrt(3),
        )

    every = [terms(row) for row in sampled]
    z_mean, z_sd = np.mean([t[1] for t in every]), np.std([t[1] for t in every])
    centre = np.mean([t[2] for t in every], axis=0)
    wanted = np.empty((4, 4))
    for i, (a, size_a, phi_a) in enumerate(map(terms, rows)):
        for j, (b, size_b, phi_b) in enumerate(map(terms, rows)):
            s = sum(p * draw.alike[x, y] for p, x, y in zip(draw.p, a, b, strict=True))
            z = (size_a - size_b) / z_sd / draw.size_length
            shared = np.sum(draw.q * (phi_a - centre) * (phi_b - centre))
            parts = [s, np.exp(-draw.length * (1 - s)), np.exp(-(z**2) / 2), shared]
            wanted[i, j] = 1 + draw.w @ parts
    seen = features(rows)
    assert seen[1] == pytest.approx([(terms(row)[1] - z_mean) / z_sd for row in rows])
    assert covariance(draw, seen, seen) == pytest.approx(wanted)
    # Equal options are alike, BAM and none are not, two BAMs are in between.
    assert np.diag(draw.alike) == pytest.approx(1.0)
    assert draw.alike[0, 1:] == pytest.approx(0.0)
    assert np.all(draw.alike[1:, 1:] > 0)


def test_predictions_are_the_textbooks(toys, monkeypatch):
    feasible_set = toys.three_sites()
    monkeypatch.setattr("bamsearch.sampler.noisy.KEPT", 1)
    features = Features(feasible_set)
    draw = features.draws()[5]
    rows, scores = feasible_set.table[[3, 9, 9, 30]], np.array([1.0, 5.0, 2.0, 0.0])
    model = NoisyModel(features, [draw], rows, scores)
    y = stats.norm.ppf((np.array([2, 4, 3, 1]) - 0.5) / 4)
    seen, new = features(rows), features(feasible_set.table[:50])
    # Rasmussen and Williams 2006, equation 2.23, with the noise on the diagonal.
    noisy = covariance(draw, seen, seen) + draw.noise * np.eye(4)
    wanted = covariance(draw, new, seen) @ np.linalg.solve(noisy, y)
    assert model.predict(feasible_set.table[:50]).mean == pytest.approx(wanted, abs=1e-4)
    scale = (2 + y @ np.linalg.solve(noisy, y) / 2) / (2 + 4 / 2)
    assert model.noise == pytest.approx(scale * draw.noise, rel=1e-4)


def test_what_is_pending_is_worth_less(toys):
    feasible_set = toys.three_sites()
    features = Features(feasible_set)
    rows, scores = feasible_set.table[[3, 9, 20, 30]], np.array([1.0, 5.0, 2.0, 0.0])
    pending = feasible_set.table[[50]]
    alone = NoisyModel(features, features.draws(), rows, scores)
    beside = NoisyModel(features, features.draws(), rows, scores, pending)
    assert beside.predict(pending).mean == pytest.approx(alone.predict(pending).mean, abs=0.05)
    assert beside.log_worth(pending, 1.0)[0] < alone.log_worth(pending, 1.0)[0]


def test_kinds_are_searched_too(toys):
    """Six places with five operations: the best has the third everywhere."""
    kinds = [Option(params=cost, kind=kind) for kind, cost in zip("abcde", range(5), strict=True)]
    feasible_set = feasible(toys.space([kinds] * 6), [toys.budget("params", 15)])
    sampler, rng, observed = NoisySampler(feasible_set, 1), np.random.default_rng(1), []
    for _ in range(30):
        encoding = sampler.suggest(observed, frozenset())
        assert feasible_set.fits(encoding)
        observed.append((encoding, encoding.count(2) + 0.3 * float(rng.normal())))
    assert max(encoding.count(2) for encoding, _ in observed) == 6
    assert {option.label for option in feasible_set.space.choices[0].options} == set("abcde")


def test_even_draws_have_all_designs_once_and_sets_in_turn(toys):
    feasible_set = toys.three_sites()
    assert isinstance(feasible_set, Listed)
    rng = np.random.default_rng(1)
    drawn = list(stratified_by_site_set(feasible_set, varied_site_sets(feasible_set, rng), rng))
    assert sorted(drawn) == sorted(map(tuple, feasible_set.table.tolist()))
    first = [tuple(number > 0 for number in encoding) for encoding in drawn[:8]]
    assert len(set(first)) == 8


@pytest.fixture(scope="module")
def searches(toys):
    feasible_set = toys.three_sites()
    return feasible_set, [toys.searched(feasible_set, seed, 30) for seed in range(4)]


def test_contenders_are_trained_again(searches):
    _, runs = searches
    for observed in runs:
        times = {encoding: [p for p, _ in observed].count(encoding) for encoding, _ in observed[3:]}
        again = [encoding for encoding, number in times.items() if number > 1]
        assert again
        # More than half of what is trained again is where BAM helps: of all designs, 2 in 3.
        assert np.mean([encoding[2] > 0 for encoding in again]) > 0.5


def test_what_is_expected_to_be_best_has_bam_where_it_helps(searches):
    feasible_set, runs = searches
    good = 0
    for observed in runs:
        seeds = [
            [p for p, _ in observed[:n]].count(encoding) for n, (encoding, _) in enumerate(observed)
        ]
        model = TrainingModel(
            feasible_set,
            [(*training, seed) for training, seed in zip(observed, seeds, strict=True)],
        )
        best = model.encodings[model.best]
        good += best[2] > 0 and best[0] == 0
    assert good >= 3


def test_a_proposal_is_a_function_of_what_is_known(toys):
    feasible_set = toys.three_sites()
    observed = toys.searched(feasible_set, 3, 12)
    assert NoisySampler(feasible_set, seed=3).suggest(observed, frozenset()) == NoisySampler(
        feasible_set, seed=3
    ).suggest(observed, frozenset())


def test_what_is_being_trained_is_not_proposed(toys):
    feasible_set = toys.three_sites()
    observed = toys.searched(feasible_set, 3, 12)
    first = NoisySampler(feasible_set, seed=3).suggest(observed, frozenset())
    assert first is not None
    assert NoisySampler(feasible_set, seed=3).suggest(observed, {first}) != first
