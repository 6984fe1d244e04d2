"""Stopping a training early: when what it will reach cannot make its design the best.

What a training reaches after its last epoch is predicted from what it has now, by linear regression
over the trainings that are finished. A training is stopped where the upper end of the 99 %
prediction interval lies below what is expected of the best design, less a margin for an unlucky
seed.

It is no matter of adding what others gained from here on: a training that is behind by chance gains
more than others, and where an early epoch says nothing of the last one, neither does this rule. So
only what is hopeless is stopped. Halving stops a fixed share of all trainings, however alike they
are; where one training is as noisy as designs differ, those are not the bad designs but the unlucky
ones, and what it saves is spent again on finding the best (benchmarks/train_replay.md has both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

FEWEST = 8
"""Finished trainings from which on any is stopped."""

CONFIDENCE = 0.99


def expected_last(
    curve: Sequence[float], finished: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """What a training will reach, and the upper end of the prediction interval.

    Args:
        curve: accuracies after each epoch so far; at least one.
        finished: curves of trainings that went to their end, at least three.
    """
    now = len(curve) - 1
    there, last = np.array([(one[now], one[-1]) for one in finished]).T
    n, ahead = len(finished), curve[-1] - there.mean()
    apart = there - there.mean()
    # Where all had the same, how far this one is ahead says nothing.
    squares = float(apart @ apart) or np.inf
    slope = float(apart @ last) / squares
    expected = float(last.mean() + slope * ahead)
    left = last - last.mean() - slope * apart
    deviation = np.sqrt(left @ left / (n - 2) * (1 + 1 / n + ahead**2 / squares))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 2) * deviation
    return expected, expected + float(half)


def cannot_win(
    curve: Sequence[float], finished: Sequence[Sequence[float]], best: float, noise: float
) -> bool:
    """Whether a training may be stopped.

    Args:
        curve: its accuracies after each epoch so far, in per cent.
        finished: curves of trainings that went to their end, all of the same number of epochs.
        best: accuracy that is expected of the best design.
        noise: standard deviation of one training of a design.
    """
    if not curve or len(finished) < FEWEST or len(curve) >= len(finished[0]):
        return False
    _, upper = expected_last(curve, finished)
    return upper < best - float(stats.norm.ppf(CONFIDENCE)) * noise
