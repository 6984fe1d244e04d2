"""One training of ``verify``: its folder, state, duration, and its result on the test images.

``RUN/verify/SEED-NETWORK/`` is a training folder as made by ``bamsearch train``. Its ``test.json``
records which test images the network classifies correctly; a look writes it after training.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from bamsearch.data.splits import Split
from bamsearch.errors import DesignError, TrainingError
from bamsearch.evidence.verify.networks import ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan, misfit
from bamsearch.evidence.verify.statistics import RUN_SD, sd_limits, smallest_detectable
from bamsearch.files import write_whole
from bamsearch.graph.base import Base
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records.formats import Format
from bamsearch.records.hints import Natural
from bamsearch.training.engine import state_of, train_to_end
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import build_initial_model, with_bam
from bamsearch.training.loop import classify
from bamsearch.training.progress import Watch
from bamsearch.training.timing import step_seconds, training_seconds
from bamsearch.training.trainer import Training, make_trainer_state

TEST_FILE = "test.json"


@dataclass(frozen=True, eq=False)
class HeldOutResult:
    """Test result of a trained network.

    Attributes:
        correct: (images,) bool, whether each test image is classified correctly.
    """

    correct: NDArray[np.bool_]

    @property
    def images(self) -> int:
        """Number of test images."""
        return len(self.correct)

    @cached_property
    def points(self) -> NDArray[np.int8]:
        """(images,) 100 for a correct image, otherwise 0; the mean is the accuracy in percent."""
        return np.int8(100) * self.correct.astype(np.int8)

    def to_json(self) -> str:
        """The content of ``test.json``: images as bits, in the order of the split, in base64."""
        bits = base64.b64encode(np.packbits(self.correct).tobytes()).decode()
        right = int(self.correct.sum())
        return _TEST.text(_Result(right, self.images, bits))

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "test.json") -> HeldOutResult:
        """Read what :meth:`to_json` wrote.

        Raises:
            TrainingError: the file is corrupt, or an older bamsearch wrote it without the images.
        """
        stored = _TEST.parse(text, source)
        try:
            bits = np.frombuffer(base64.b64decode(stored.correct, validate=True), np.uint8)
        except ValueError as error:
            raise TrainingError(f"{source}: key correct is not base64: {error}") from error
        if len(bits) != -(-stored.images // 8):
            raise TrainingError(f"{source}: {8 * len(bits)} bits for {stored.images} images")
        correct = np.unpackbits(bits, count=stored.images).astype(bool)
        if int(correct.sum()) != stored.right:
            raise TrainingError(f"{source}: bits and number of correct images differ")
        return cls(correct)


@dataclass(frozen=True, slots=True)
class _Result:
    right: Natural
    images: Natural
    correct: str


_TEST: Format[_Result] = Format(_Result, "test result", TrainingError, "verify again", indent=None)


def training_of(planned: VerifyPlan, seed: int, network: ComparedNetwork) -> Training:
    """The training before its start.

    Raises:
        DataError: the network has other classes than the data.
    """
    request, run = planned.request, planned.record.run
    if request.module is not None:
        base = Base(request.module, run.summary.input_shape, known_sites=run.summary.sites)
        initial = with_bam(base, network.design, planned.data, seed)
    else:
        try:
            initial = build_initial_model(
                network.design, planned.data, weights=request.weights, seed=seed
            )
        except DesignError as error:
            raise misfit(run, planned.data.facts, network.design.num_classes) from error
    return Training(initial, planned.data, planned.recipe, seed, request.device)


def train_one(
    planned: VerifyPlan, seed: int, network: ComparedNetwork, watch: Watch | None = None
) -> None:
    """Train a network to the end, resuming if it was interrupted; finished ones are kept.

    Raises:
        DivergedError: the loss became NaN or infinite.
        TrainingError: the folder has another training, without ``force``.
        KeyboardInterrupt: interrupted, after saving a checkpoint.
    """
    request, path = planned.request, planned.place(seed, network)
    folder = TrainingFolder(path, command=request.command, force=request.force)
    train_to_end(training_of(planned, seed, network), folder, watch)


def stored_result(planned: VerifyPlan, seed: int, network: ComparedNetwork) -> HeldOutResult | None:
    """The result in a training's ``test.json``; None if it is missing or incomplete."""
    path = planned.place(seed, network) / TEST_FILE
    try:
        stored = HeldOutResult.from_json(path.read_bytes(), str(path))
    except (OSError, TrainingError):
        return None
    return stored if stored.images == planned.data.facts.test else None


def evaluate_one(
    planned: VerifyPlan, seed: int, network: ComparedNetwork, images: Split
) -> HeldOutResult:
    """Classify the test images with a trained network, and write ``test.json``."""
    folder, training = planned.place(seed, network), training_of(planned, seed, network)
    fabric, scaler = make_fabric(training.device, training.recipe)
    with preserve_torch_state(fabric.device, torch.get_num_threads()):
        saved = TrainingFolder(folder).read_checkpoint()
        trainer = make_trainer_state(training, fabric, scaler, saved)
        reached = HeldOutResult(classify(trainer, images).numpy())
    text = reached.to_json()
    write_whole(folder / TEST_FILE, text.encode(), "fix this, then verify again")
    return reached


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
        training = training_of(planned, planned.seeds[0], network)
        missing = sum(not _is_done(planned, seed, network, training) for seed in planned.seeds)
        done += len(planned.seeds) - missing
        if missing:
            step = step_seconds(training, clock=clock)
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


def _is_done(planned: VerifyPlan, seed: int, network: ComparedNetwork, training: Training) -> bool:
    metadata = replace(training, seed=seed).metadata()
    try:
        return state_of(planned.place(seed, network), metadata) == "done"
    except TrainingError:
        if planned.request.force:
            return False
        raise
