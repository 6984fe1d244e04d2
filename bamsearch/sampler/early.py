"""Early stopping of a training whose design cannot become the best.

Notation: a training has accuracy x after epoch e; n finished trainings had x_i after epoch e and
y_i after the last one. Simple linear regression of y on x predicts, with residual variance s^2,
S = sum (x_i - mean x)^2 and t the Student quantile with n - 2 degrees of freedom::

    y_hat = mean y + slope (x - mean x)
    upper = y_hat + t s sqrt(1 + 1 / n + (x - mean x)^2 / S)

The training is stopped if ``upper``, the end of the 99% prediction interval, is below the expected
accuracy of the best design less 2.33 standard deviations of a training, a margin for its seed.

Extrapolating by the gain of other trainings would be wrong: a training that is behind by chance
gains more than average. Where an early epoch does not predict the last one, the slope is near 0 and
nothing is stopped. Successive halving stops a fixed share of all trainings; if a training is as
noisy as designs differ, those are the unlucky ones, and the saved time is spent on finding the best
again (benchmarks/train_replay.md compares both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

FEWEST = 8
"""Number of finished trainings before any is stopped."""

CONFIDENCE = 0.99
"""Confidence level of the prediction interval and of the margin."""


def expected_last(
    curve: Sequence[float], finished: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """Predicted final accuracy, and the upper end of the prediction interval, both in percent.

    Args:
        curve: accuracies after each epoch so far, in percent; at least one.
        finished: curves of finished trainings, at least three.
    """
    epoch = len(curve) - 1
    x, y = np.array([(other[epoch], other[-1]) for other in finished]).T
    n, ahead = len(finished), curve[-1] - x.mean()
    centred = x - x.mean()
    # If all accuracies are equal, x predicts nothing: the slope is 0.
    squares = float(centred @ centred) or np.inf
    slope = float(centred @ y) / squares
    expected = float(y.mean() + slope * ahead)
    residuals = y - y.mean() - slope * centred
    deviation = np.sqrt(residuals @ residuals / (n - 2) * (1 + 1 / n + ahead**2 / squares))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 2) * deviation
    return expected, expected + float(half)


def cannot_win(
    curve: Sequence[float], finished: Sequence[Sequence[float]], best: float, noise: float
) -> bool:
    """Whether a training can be stopped.

    Args:
        curve: accuracies after each epoch so far, in percent.
        finished: curves of finished trainings, all with the same number of epochs.
        best: expected accuracy of the best design, in percent.
        noise: standard deviation of one training of a design, in points.
    """
    if not curve or len(finished) < FEWEST or len(curve) >= len(finished[0]):
        return False
    _, upper = expected_last(curve, finished)
    return upper < best - float(stats.norm.ppf(CONFIDENCE)) * noise
