"""When a training is stopped: against the prediction interval of a mean, worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from bamsearch.searching.early import FEWEST, cannot_win, expected_last

# After one of three epochs: 10 points are gained on average, with a standard deviation of 0.9.
GAINS = [9.0, 9.0, 9.0, 10.0, 10.0, 11.0, 11.0, 11.0]
FINISHED = [(60.0, 65.0, 60.0 + gain) for gain in GAINS]
SPREAD = float(np.std(GAINS, ddof=1))
HALF = stats.t.ppf(0.9995, 7) * SPREAD * np.sqrt(1 + 1 / 8)


def test_what_is_expected_is_the_mean_gain_with_a_prediction_interval():
    expected, upper = expected_last([50.0], FINISHED)
    assert expected == pytest.approx(60.0)
    assert upper == pytest.approx(60.0 + HALF)


def test_the_interval_holds_what_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        gains = rng.normal(10, 2, 9)
        _, upper = expected_last([50.0], [(0.0, gain) for gain in gains[:8]])
        held += 50.0 + gains[8] <= upper
    # One end of a 99.9 % interval is looked at: of 400, 0.2 are expected beyond it.
    assert 397 <= held <= 400


def test_a_training_is_stopped_only_beyond_interval_and_noise():
    noise = 0.5
    limit = 60.0 + HALF + stats.norm.ppf(0.999) * noise
    assert not cannot_win([50.0], FINISHED, limit - 0.01, noise)
    assert cannot_win([50.0], FINISHED, limit + 0.01, noise)


def test_nothing_is_stopped_on_little_knowledge_or_at_its_end():
    assert not cannot_win([50.0], FINISHED[: FEWEST - 1], 99.0, 0.1)
    assert not cannot_win([], FINISHED, 99.0, 0.1)
    assert not cannot_win([1.0, 2.0, 3.0], FINISHED, 99.0, 0.1)
