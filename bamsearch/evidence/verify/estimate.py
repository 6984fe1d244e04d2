"""Duration of the trainings, and the differences that ``verify`` can detect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from bamsearch.errors import TrainingError
from bamsearch.evidence.verify.networks import ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan
from bamsearch.evidence.verify.statistics import RUN_SD, sd_limits, smallest_detectable
from bamsearch.evidence.verify.trainings import initial_model_of, metadata_of
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.start_or_resume import state_of
from bamsearch.training.timing import step_seconds, training_seconds


@dataclass(frozen=True, slots=True)
class VerifyEstimate:
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


def estimate_verify(
    planned: VerifyPlan, clock: Callable[[], float] = time.perf_counter
) -> VerifyEstimate:
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
        initial = initial_model_of(planned, planned.seeds[0], network)
        missing = sum(not _is_done(planned, seed, network, initial) for seed in planned.seeds)
        done += len(planned.seeds) - missing
        if missing:
            step = step_seconds(
                initial,
                planned.data,
                planned.recipe,
                device=planned.request.device,
                clock=clock,
            )
            tested = planned.data.facts.test
            seconds += missing * training_seconds(step, planned.data, planned.recipe, tested)
    data, analysis = planned.record.run.data, planned.record.analysis
    if data is not None and data.hash != planned.data.facts.hash:
        analysis = None
    run_sd = RUN_SD
    if analysis is not None:
        # Only designs trained with several seeds show the spread over seeds.
        repeats = max(analysis.trainings - len(analysis.ranking), 1)
        run_sd = sd_limits(analysis.noise, repeats)
    low, high = (
        # Spread of a difference of two trainings, if a common seed does not correlate them.
        smallest_detectable(sqrt(2) * sd, len(planned.seeds), 1 - planned.plan.level)
        for sd in run_sd
    )
    trainings = len(planned.trainings)
    return VerifyEstimate(seconds, done, trainings, (low, high), run_sd, analysis is not None)


def _is_done(
    planned: VerifyPlan, seed: int, network: ComparedNetwork, initial: InitialModel
) -> bool:
    try:
        return state_of(planned.place(seed, network), metadata_of(planned, initial, seed)) == "done"
    except TrainingError:
        if planned.request.force:
            return False
        raise
