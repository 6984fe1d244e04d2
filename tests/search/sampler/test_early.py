"""When a training is stopped: against a regression and its interval, worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from bamsearch.sampler.early import FEWEST, cannot_win, expected_last

# After the first of three epochs 58, 60 or 62%, and at the end half of that and 40%, and an error
# that is 0 on average and goes with nothing.
ERRORS = [1.0, -1.0, 0.5, -0.5, 0.5, -0.5, 1.0, -1.0]
FIRST = [58.0, 58.0, 60.0, 60.0, 60.0, 60.0, 62.0, 62.0]
FINISHED = [
    (first, 65.0, first / 2 + 40.0 + error) for first, error in zip(FIRST, ERRORS, strict=True)
]


def half(first: float) -> float:
    """Half of the 99% interval: the errors' squares are 5, the firsts' about their mean 16."""
    deviation = np.sqrt(5.0 / 6 * (1 + 1 / 8 + (first - 60.0) ** 2 / 16))
    return stats.t.ppf(0.995, 6) * deviation


@pytest.mark.parametrize(("first", "last"), [(60.0, 70.0), (50.0, 65.0), (70.0, 75.0)])
def test_what_is_expected_follows_the_line_through_the_finished(first, last):
    expected, upper = expected_last([first], FINISHED)
    assert expected == pytest.approx(last)
    assert upper == pytest.approx(last + half(first))


def test_what_says_nothing_of_the_end_is_not_listened_to():
    # Two groups with the same ends: the mean is expected of any other.
    alike = [(first, last) for first in (30.0, 60.0) for last in (69.0, 70.0, 71.0, 70.0)]
    assert expected_last([0.0], alike)[0] == pytest.approx(70.0)
    same = [(50.0, last) for last in (69.0, 70.0, 71.0, 70.0)]
    expected, upper = expected_last([10.0], same)
    assert expected == pytest.approx(70.0)
    assert upper == pytest.approx(70.0 + stats.t.ppf(0.995, 2) * np.sqrt(2.0 / 2 * (1 + 1 / 4)))


def test_the_interval_holds_what_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        first = rng.normal(50, 3, 9)
        last = 40 + 0.5 * first + rng.normal(0, 2, 9)
        _, upper = expected_last([first[8]], list(zip(first[:8], last[:8], strict=True)))
        held += last[8] <= upper
    # One end of a 99% interval is looked at: of 1,000, 5 are expected beyond it.
    assert 988 <= held <= 1000


def test_a_training_is_stopped_only_beyond_interval_and_noise():
    noise = 0.5
    limit = 65.0 + half(50.0) + stats.norm.ppf(0.99) * noise
    assert not cannot_win([50.0], FINISHED, limit - 0.01, noise)
    assert cannot_win([50.0], FINISHED, limit + 0.01, noise)


def test_nothing_is_stopped_on_little_knowledge_or_at_its_end():
    assert not cannot_win([50.0], FINISHED[: FEWEST - 1], 99.0, 0.1)
    assert not cannot_win([], FINISHED, 99.0, 0.1)
    assert not cannot_win([1.0, 2.0, 3.0], FINISHED, 99.0, 0.1)
