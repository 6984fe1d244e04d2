"""Verify trains with seeds that the search has not chosen by."""

from dataclasses import replace

import pytest

from bamsearch.errors import InvalidValueError
from bamsearch.evidence.verify.request import fresh_seeds
from bamsearch.records import Evidence
from bamsearch.records.run_files import read_record


@pytest.fixture
def record(searched):
    return read_record(searched)


def trained(record, seed, *seeds):
    """The same run with score ``train``: a trial with each seed, counted from the run's."""
    run = replace(record.run, score="train", seed=seed)
    trials = tuple(replace(record.trials[0], number=s, seed=s) for s in seeds)
    return replace(record, run=run, trials=trials, baselines=())


def test_the_usual_seeds_are_far_from_those_of_a_search(record):
    assert fresh_seeds(record, 3) == range(10_000, 10_003)
    # 9,998 + 2 is the first of the usual block, so that the next one is taken.
    assert fresh_seeds(trained(record, 9_998, 0, 2), 3) == range(20_000, 20_003)


@pytest.mark.parametrize(("first", "shared"), [(0, 4), (4, 4), (6, 6), (5, 6)])
def test_seeds_of_trainings_of_the_search_are_refused(record, first, shared):
    run = trained(record, 4, 0, 2)  # the seeds 4 and 6
    says = f"the search of run small used seed {shared}: omit `seed`, or give at least 7"
    with pytest.raises(InvalidValueError, match=says) as caught:
        fresh_seeds(run, 5, first)
    assert caught.value.exit_code == 2
    assert fresh_seeds(run, 5, 7) == range(7, 12)


def test_seeds_of_references_and_of_zero_cost_scores_are_refused_too(record):
    run = trained(record, 0, 0)
    later = replace(run, baselines=(("base", replace(run.trials[0], seed=2)),))
    with pytest.raises(InvalidValueError, match="used seed 2"):
        fresh_seeds(later, 3, 1)
    zero_cost = replace(record, run=replace(record.run, seed=7))
    with pytest.raises(InvalidValueError, match="used seed 7"):
        fresh_seeds(zero_cost, 2, 6)


def test_seeds_end_at_32_bits(record):
    assert fresh_seeds(record, 2, 2**32 - 2)[-1] == 2**32 - 1
    with pytest.raises(InvalidValueError, match="the last seed would be over"):
        fresh_seeds(record, 2, 2**32 - 1)


@pytest.mark.parametrize(
    ("score", "seeds", "shared"),
    [
        ("train", (), True),
        ("train", (2, 3), True),
        ("train", (3, 4), False),
        ("supernet", (0, 1), True),
        ("supernet", (10_000,), False),
        ("snip", (), False),
        ("snip", (0, 1), False),
    ],
)
def test_what_shares_seeds_with_its_search(record, score, seeds, shared):
    run = trained(record, 0, 0, 2)
    evidence = Evidence("digits", "abc", 0.95, {}, (), seeds=seeds)
    whole = replace(run, run=replace(run.run, score=score), evidence=evidence)
    if score == "supernet":  # its trials have no seed
        whole = replace(whole, trials=tuple(replace(t, seed=None) for t in whole.trials))
    assert whole.shares_seeds == shared
    assert not replace(whole, evidence=None).shares_seeds
