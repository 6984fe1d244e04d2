"""What is proposed where a score is of one training: new designs, and contenders again."""

from __future__ import annotations

import numpy as np
import pytest

from bamsearch.searching.feasible import Listed
from bamsearch.searching.noisy import FIRST, NoisyProposer
from bamsearch.searching.strata import evenly, many_sets
from bamsearch.searching.training_model import TrainingModel


def test_the_first_look_has_other_sites_each_time(toys):
    there = toys.three_sites()
    for seed in range(20):
        # With the base, which is there already, they are FIRST designs.
        observed = toys.searched(there, seed, FIRST - 1)
        sets = [tuple(number > 0 for number in picks) for picks, _ in observed[3:]]
        assert len(set(sets)) == FIRST - 1


def test_even_draws_have_all_designs_once_and_sets_in_turn(toys):
    there = toys.three_sites()
    assert isinstance(there, Listed)
    rng = np.random.default_rng(1)
    drawn = list(evenly(there, many_sets(there, rng), rng))
    assert sorted(drawn) == sorted(map(tuple, there.table.tolist()))
    first = [tuple(number > 0 for number in picks) for picks in drawn[:8]]
    assert len(set(first)) == 8


@pytest.fixture(scope="module")
def searches(toys):
    there = toys.three_sites()
    return there, [toys.searched(there, seed, 30) for seed in range(4)]


def test_contenders_are_trained_again(searches):
    _, found = searches
    for observed in found:
        times = {picks: [p for p, _ in observed].count(picks) for picks, _ in observed[3:]}
        again = [picks for picks, number in times.items() if number > 1]
        assert again
        # More than half of what is trained again is where BAM helps: of all designs, 2 in 3.
        assert np.mean([picks[2] > 0 for picks in again]) > 0.5


def test_what_is_expected_to_be_best_has_bam_where_it_helps(searches):
    there, found = searches
    good = 0
    for observed in found:
        seeds = [[p for p, _ in observed[:n]].count(picks) for n, (picks, _) in enumerate(observed)]
        known = TrainingModel(
            there, [(*training, seed) for training, seed in zip(observed, seeds, strict=True)]
        )
        best = known.picks[known.best]
        good += best[2] > 0 and best[0] == 0
    assert good >= 3


def test_a_proposal_is_a_function_of_what_is_known(toys):
    there = toys.three_sites()
    observed = toys.searched(there, 3, 12)
    assert NoisyProposer(there, seed=3).propose(observed, frozenset()) == NoisyProposer(
        there, seed=3
    ).propose(observed, frozenset())


def test_what_is_being_trained_is_not_proposed(toys):
    there = toys.three_sites()
    observed = toys.searched(there, 3, 12)
    first = NoisyProposer(there, seed=3).propose(observed, frozenset())
    assert first is not None
    assert NoisyProposer(there, seed=3).propose(observed, {first}) != first
