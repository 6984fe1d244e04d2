"""Duration of the trainings, and the differences that ``verify`` can detect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from bamsearch.errors import TrainingError
from bamsearch.evidence.verify.networks import Network
from bamsearch.evidence.verify.request import Planned
from bamsearch.evidence.verify.statistics import RUN_SD, sd_limits, smallest_detectable
from bamsearch.evidence.verify.trainings import about, start_of
from bamsearch.training.again import state_of
from bamsearch.training.start import Start
from bamsearch.training.timing import step_seconds, training_seconds


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimate made before the trainings.

    Attributes:
        seconds: duration of all remaining trainings and tests, if no comparison is decided early.
        done: number of finished trainings.
        trainings: largest number of trainings.
        detectable: differences in points that all seeds detect with 80% power, for the lower and
            the upper spread.
        run_sd: lower and upper spread: standard deviation of one training over seeds, in points.
        measured: whether the search measured the spread; ``run_sd`` then has its 90% limits.
    """

    seconds: float
    done: int
    trainings: int
    detectable: tuple[float, float]
    run_sd: tuple[float, float]
    measured: bool


def estimate(planned: Planned, clock: Callable[[], float] = time.perf_counter) -> Estimate:
    """Count finished trainings and estimate the duration of the others.

    Writes nothing, and does not read the test split.

    Args:
        planned: the plan.
        clock: clock in seconds, read after each step. An epoch of one step is timed from its start.

    Raises:
        TrainingError: the folder has a different training, without ``force``.
        DataError: the networks have other classes than the data.
    """
    seconds, done = 0.0, 0
    for network in planned.chosen.networks:
        start = start_of(planned, planned.seeds[0], network)
        missing = sum(not _is_done(planned, seed, network, start) for seed in planned.seeds)
        done += len(planned.seeds) - missing
        if missing:
            step = step_seconds(
                start,
                planned.data,
                planned.recipe,
                device=planned.request.device,
                clock=clock,
            )
            tested = planned.data.facts.test
            seconds += missing * training_seconds(step, planned.data, planned.recipe, tested)
    data, learned = planned.record.run.data, planned.record.learned
    if data is not None and data.hash != planned.data.facts.hash:
        learned = None
    run_sd = RUN_SD
    if learned is not None:
        # Only designs trained with several seeds show the spread over seeds.
        repeats = max(learned.trainings - len(learned.ranking), 1)
        run_sd = sd_limits(learned.noise, repeats)
    low, high = (
        # Spread of a difference of two trainings, if a common seed does not correlate them.
        smallest_detectable(sqrt(2) * sd, len(planned.seeds), 1 - planned.plan.level)
        for sd in run_sd
    )
    trainings = len(planned.trainings)
    return Estimate(seconds, done, trainings, (low, high), run_sd, learned is not None)


def _is_done(planned: Planned, seed: int, network: Network, start: Start) -> bool:
    try:
        return state_of(planned.place(seed, network), about(planned, start, seed)) == "done"
    except TrainingError:
        if planned.request.force:
            return False
        raise
