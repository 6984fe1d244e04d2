"""One training of ``verify``: where it is, how far it is, and what it reaches on the test images.

``RUN/verify/SEED-NETWORK/`` is a folder as ``bamsearch train`` makes it. ``test.json`` in it says
what the network reached on the test split, which is read when all networks are trained.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bamsearch.data.splits import Split
from bamsearch.errors import DesignError, OutputError
from bamsearch.evidence.verify.networks import Network
from bamsearch.evidence.verify.request import Planned, misfit
from bamsearch.profile.conditions import caller_kept
from bamsearch.training.again import train_to_end
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.loop import evaluate
from bamsearch.training.progress import Progress
from bamsearch.training.resume import about_training
from bamsearch.training.run import make_live
from bamsearch.training.start import Start, start_with

TEST_FILE = "test.json"


@dataclass(frozen=True, slots=True)
class Reached:
    """What a trained network reaches.

    Attributes:
        right: test images that it classifies right.
        images: test images.
    """

    right: int
    images: int

    @property
    def per_cent(self) -> float:
        """The accuracy."""
        return 100 * self.right / self.images


def start_of(planned: Planned, seed: int, network: Network) -> Start:
    """The network before its training.

    Raises:
        DataError: it has other classes than the data.
    """
    weights = planned.request.weights
    try:
        return start_with(network.design, planned.data, weights=weights, seed=seed)
    except DesignError as error:
        raise misfit(planned.record.run, planned.data.facts, network.design.num_classes) from error


def about(planned: Planned, start: Start, seed: int) -> dict[str, Any]:
    """What decides the result of a training, see :func:`about_training`."""
    return about_training(start, planned.data.facts, planned.recipe, seed)


def train_one(
    planned: Planned,
    seed: int,
    network: Network,
    watch: Callable[[Progress], None] | None = None,
) -> None:
    """Train a network to its end, from where it is; nothing where it is at its end.

    Raises:
        DivergedError: its loss is no number.
        TrainingError: another training is in its folder, without ``force``.
        KeyboardInterrupt: it was interrupted, and has saved.
    """
    folder = TrainingFolder(
        planned.place(seed, network),
        command=planned.request.command,
        force=planned.request.force,
    )
    train_to_end(
        start_of(planned, seed, network),
        planned.data,
        planned.recipe,
        seed=seed,
        device=planned.request.device,
        folder=folder,
        watch=watch,
    )


def evaluate_one(
    planned: Planned, seed: int, network: Network, test: Callable[[], Split]
) -> Reached:
    """What a trained network reaches on the test images, from ``test.json`` if that is there.

    Args:
        planned: what is done.
        seed: of the training.
        network: which was trained.
        test: gives the test split; not called where the result is there.
    """
    place = planned.place(seed, network)
    try:
        return Reached(**json.loads((place / TEST_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass  # not tested yet
    start = start_of(planned, seed, network)
    fabric, scaler = make_fabric(planned.request.device, planned.recipe)
    with caller_kept(fabric.device, torch.get_num_threads()):
        saved = TrainingFolder(place).read_checkpoint()
        live = make_live(start, planned.data, planned.recipe, seed, fabric, scaler, saved)
        images = test()
        reached = Reached(evaluate(live, images)[1], len(images))
    _write(place / TEST_FILE, json.dumps(asdict(reached)) + "\n")
    return reached


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; mend that, and verify again"
        ) from error
