"""Stopping a training early: when what it will reach cannot make its design the best.

What a training reaches after its last epoch is what it has now, and what is gained from here on.
That gain is known from the trainings that are finished: its mean, and how far it spreads. A
training is stopped where the upper end of the 99.9 % prediction interval of its last accuracy lies
below what is expected of the best design, less a margin for an unlucky seed.

The limits are wide on purpose: only what is hopeless is stopped. Halving stops a fixed share of all
trainings, however alike they are; where one training is as noisy as designs differ, those are not
the bad designs but the unlucky ones, and what it saves is spent again on finding the best
(benchmarks/train_replay.md has both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

FEWEST = 8
"""Finished trainings from which on any is stopped."""

CONFIDENCE = 0.999


def expected_last(
    curve: Sequence[float], finished: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """What a training will reach, and the upper end of the prediction interval.

    Args:
        curve: accuracies after each epoch so far; at least one.
        finished: curves of trainings that went to their end, at least two.
    """
    now = len(curve) - 1
    gains = np.array([one[-1] - one[now] for one in finished])
    n = len(gains)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * gains.std(ddof=1) * np.sqrt(1 + 1 / n)
    expected = curve[-1] + float(gains.mean())
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
