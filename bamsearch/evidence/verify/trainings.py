"""One training of ``verify``: its folder, its state and its result on the test images.

``RUN/verify/SEED-NETWORK/`` is a training folder as made by ``bamsearch train``. Its ``test.json``
records which test images the network classifies correctly; a look writes it after training.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bamsearch.data.splits import Split
from bamsearch.errors import DesignError, TrainingError
from bamsearch.evidence.verify.networks import ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan, misfit
from bamsearch.files import write_whole
from bamsearch.graph.base import Base
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records.formats import Format
from bamsearch.records.hints import Natural
from bamsearch.training.engine import with_bam
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import InitialModel, build_initial_model
from bamsearch.training.loop import classify
from bamsearch.training.progress import Progress
from bamsearch.training.resume import training_metadata
from bamsearch.training.run import make_trainer_state
from bamsearch.training.start_or_resume import train_to_end

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
        return _TEST.text(_Stored(right, self.images, bits))

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
class _Stored:
    right: Natural
    images: Natural
    correct: str


_TEST: Format[_Stored] = Format(_Stored, "test result", TrainingError, "verify again", indent=None)


def initial_model_of(planned: VerifyPlan, seed: int, network: ComparedNetwork) -> InitialModel:
    """The network before its training.

    Raises:
        DataError: the network has other classes than the data.
    """
    weights, module = planned.request.weights, planned.request.module
    if module is not None:
        summary = planned.record.run.summary
        base = Base(module, summary.input_shape, known_sites=summary.sites)
        return with_bam(base, network.design, planned.data, seed)
    try:
        return build_initial_model(network.design, planned.data, weights=weights, seed=seed)
    except DesignError as error:
        raise misfit(planned.record.run, planned.data.facts, network.design.num_classes) from error


def metadata_of(planned: VerifyPlan, initial: InitialModel, seed: int) -> dict[str, Any]:
    """Everything that determines the result of a training, see :func:`training_metadata`."""
    return training_metadata(initial, planned.data.facts, planned.recipe, seed)


def train_one(
    planned: VerifyPlan,
    seed: int,
    network: ComparedNetwork,
    watch: Callable[[Progress], None] | None = None,
) -> None:
    """Train a network to the end, resuming if it was interrupted; finished ones are kept.

    Raises:
        DivergedError: the loss became NaN or infinite.
        TrainingError: the folder has another training, without ``force``.
        KeyboardInterrupt: interrupted, after saving a checkpoint.
    """
    folder = TrainingFolder(
        planned.place(seed, network),
        command=planned.request.command,
        force=planned.request.force,
    )
    train_to_end(
        initial_model_of(planned, seed, network),
        planned.data,
        planned.recipe,
        seed=seed,
        device=planned.request.device,
        folder=folder,
        watch=watch,
    )


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
    folder = planned.place(seed, network)
    initial = initial_model_of(planned, seed, network)
    fabric, scaler = make_fabric(planned.request.device, planned.recipe)
    with preserve_torch_state(fabric.device, torch.get_num_threads()):
        saved = TrainingFolder(folder).read_checkpoint()
        trainer = make_trainer_state(
            initial, planned.data, planned.recipe, seed, fabric, scaler, saved
        )
        reached = HeldOutResult(classify(trainer, images).numpy())
    text = reached.to_json()
    write_whole(folder / TEST_FILE, text.encode(), "fix this, then verify again")
    return reached
