"""Start, resume or skip a training depending on its folder, and run it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from scipy.stats import binomtest
from torch import nn

from bamsearch.errors import InvalidValueError, TrainingError
from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.profiling.devices import device_facts
from bamsearch.records import Design
from bamsearch.training.fabric import make_fabric
from bamsearch.training.folder import CHECKPOINT_FILE, EVENTS, TrainingFolder, check_tensorboard
from bamsearch.training.interrupt import defer_signals
from bamsearch.training.loop import sum_over_processes, train_epoch, validate
from bamsearch.training.metadata import FACTS_FILE, METADATA, check_same_training
from bamsearch.training.progress import EpochMetrics, Progress, Watch
from bamsearch.training.recipe import check_starts_from
from bamsearch.training.shards import steps_of
from bamsearch.training.trainer import TrainerState, Training, make_trainer_state

CONFIDENCE = 0.95

State = Literal["new", "started", "done"]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A network after training.

    Attributes:
        module: the network, in eval mode, on its device.
        design: its design; None for a module of the caller.
        rows: metrics of all epochs.
        right: number of validation images classified correctly after the last epoch.
        images: number of validation images.
    """

    module: nn.Module
    design: Design | None
    rows: tuple[EpochMetrics, ...]
    right: int
    images: int

    @property
    def accuracy(self) -> float:
        """Validation accuracy, 0..1; nan before training."""
        return self.right / self.images if self.rows else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the accuracy, for the finite number of images only."""
        interval = binomtest(self.right, self.images).proportion_ci(CONFIDENCE, "wilson")
        return float(interval.low), float(interval.high)


def state_of(folder: Path, wanted: Mapping[str, Any]) -> State:
    """State of a training with the wanted metadata, by its folder.

    Raises:
        TrainingError: the folder has a training with another recipe, design or data.
    """
    try:
        saved = METADATA.read(folder / FACTS_FILE)
    except (OSError, TrainingError):
        return "new"
    if not (folder / CHECKPOINT_FILE).is_file():
        return "new"
    try:
        check_same_training(saved, wanted, folder)
    except TrainingError as error:
        difference = str(error).rpartition(": ")[0]
        raise TrainingError(
            f"{difference}: use the same settings, or add `force` to train again"
        ) from error
    # A kill between the last two files leaves the weights without the design.
    files = (WEIGHTS_FILE,) if wanted["design"] is None else (WEIGHTS_FILE, DESIGN_FILE)
    return "done" if all((folder / name).is_file() for name in files) else "started"


def train_to_end(training: Training, folder: TrainingFolder, watch: Watch | None = None) -> None:
    """Start or resume a training, or do nothing if it is finished; for errors see :func:`train`.

    The folder's ``force`` replaces another training there.
    """
    try:
        state = state_of(folder.path, training.metadata())
    except TrainingError:
        if not folder.force:
            raise
        state = "new"
    if state != "new" and folder.force and not folder.readable:
        state = "new"
    if state == "done":
        return
    if state == "new":
        folder.remove()
    train(training, folder, resume=state == "started", watch=watch)


def train(
    training: Training,
    folder: TrainingFolder | None = None,
    *,
    resume: bool = False,
    watch: Watch | None = None,
) -> Trained:
    """Run a training to its end.

    For the same seed, all designs of a model share initial weights and the order of images, see
    :func:`bamsearch.training.initial_model.build_initial_model`. On a CPU with one thread the
    result is reproducible bit for bit, also after a kill and resume; on a GPU the last digits may
    differ. The caller's random state is preserved. The test split is not read.

    Args:
        training: network, data, recipe, seed and device.
        folder: folder for checkpoints, metrics and weights; None writes nothing.
        resume: resume the training in the folder from its last checkpoint.
        watch: called after every few steps and every epoch.

    Raises:
        DivergedError: the loss became NaN or infinite.
        TrainingError: the folder has another training.
        KeyboardInterrupt: SIGINT or SIGTERM arrived; in the folder, a checkpoint was written.
        MissingExtraError: Lightning Fabric is not installed.
    """
    initial, recipe = training.initial, training.recipe
    check_starts_from(recipe, initial.weights)
    if resume and folder is None:
        raise InvalidValueError("nothing to resume: pass the folder of the training")
    if folder is not None and folder.tensorboard:
        check_tensorboard()
    fabric, scaler = make_fabric(training.device, recipe)
    with ExitStack() as stack:
        locks = folder is not None and fabric.is_global_zero
        if folder is not None and locks and not folder.is_new:
            stack.enter_context(folder.locked())
            locks = False
        stack.enter_context(preserve_torch_state(fabric.device, torch.get_num_threads()))
        # Several processes would stop at different steps, and wait for each other forever.
        graceful = folder is not None and fabric.world_size == 1
        stop = stack.enter_context(defer_signals(wait=graceful))
        metadata = training.metadata()
        saved = None
        if resume and folder is not None:
            saved = folder.read_checkpoint()
            check_same_training(saved["about"], metadata, folder.path)
        trainer = make_trainer_state(training, fabric, scaler, saved)
        writes = folder if fabric.is_global_zero else None
        run = _TrainingRun(trainer, metadata, writes, stop, watch)
        if saved is not None:
            run.resume(saved["progress"])
        else:
            run.begin(initial.design)
        if folder is not None and locks:
            stack.enter_context(folder.locked())
        run.go()
        run.finish(initial.design)
    rows, images = tuple(run.progress.rows), len(training.data.validation)
    right = round(rows[-1].validation_accuracy * images)
    return Trained(initial.module, initial.design, rows, right, images)


class _TrainingRun:
    """A training and its folder, which is None in all processes but the first.

    ``stop`` is called between steps, and tells whether to stop with a checkpoint.
    """

    def __init__(
        self,
        trainer: TrainerState,
        metadata: Mapping[str, Any],
        folder: TrainingFolder | None,
        stop: Callable[[], bool],
        watch: Watch | None,
    ) -> None:
        self.progress = Progress(steps=steps_of(trainer.data.train, trainer.recipe.batch_size))
        self._trainer = trainer
        self._metadata = metadata
        self._folder = folder
        self._stop = stop
        self._watch: Watch = watch or (lambda progress: None)
        self._saved = time.monotonic()
        self._looked = time.monotonic()

    def begin(self, design: Design | None) -> None:
        """Write the metadata, and a checkpoint before the first step."""
        if self._folder is not None:
            metadata = {**self._metadata, **self._circumstances(self._folder)}
            self._folder.begin(metadata, design, self._state())
            self._saved = time.monotonic()

    def resume(self, progress: Progress) -> None:
        """Continue from a checkpoint's progress."""
        if progress.steps != self.progress.steps:
            raise TrainingError(
                f"the checkpoint has {progress.steps} steps per epoch, but the data give "
                f"{self.progress.steps}: start again"
            )
        self.progress = progress

    def go(self) -> None:
        """Train the remaining epochs."""
        progress, trainer = self.progress, self._trainer
        events = self._events()
        self._watch(progress)
        self._looked = time.monotonic()
        while progress.epoch < trainer.recipe.epochs:
            if progress.step < progress.steps:
                train_epoch(trainer, progress, self._due, self._between_steps)
            loss, right = validate(trainer)
            self._count_seconds()
            images = sum_over_processes(trainer, progress.images)
            row = EpochMetrics(
                epoch=progress.epoch + 1,
                lr=progress.lr,
                train_loss=sum_over_processes(trainer, progress.loss) / images,
                train_accuracy=sum_over_processes(trainer, progress.right) / images,
                validation_loss=loss,
                validation_accuracy=right / len(trainer.data.validation),
                seconds=round(progress.seconds, 3),
            )
            progress.next_epoch(row)
            self._save()
            if events is not None:
                _add_events(events, row)
            self._watch(progress)
            if self._stop() and progress.epoch < trainer.recipe.epochs:
                raise KeyboardInterrupt
        if events is not None:
            events.close()

    def finish(self, design: Design | None) -> None:
        """Write the weights."""
        self._trainer.module.eval()
        if self._folder is not None:
            self._folder.write_metrics(self.progress.rows)
            self._folder.finish(self._trainer.module, design)

    def _due(self) -> bool:
        if self._folder is None:
            return False
        return self._stop() or time.monotonic() - self._saved > 60 * self._folder.minutes

    def _between_steps(self) -> None:
        self._count_seconds()
        self._watch(self.progress)
        if self._due():
            self._save()
            if self._stop():
                raise KeyboardInterrupt

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._looked
        self._looked = now

    def _save(self) -> None:
        if self._folder is None:
            return
        self._folder.write_checkpoint(self._state())
        self._folder.write_metrics(self.progress.rows)
        self._saved = time.monotonic()

    def _state(self) -> dict[str, Any]:
        trainer = self._trainer
        return {
            "about": dict(self._metadata),
            "model": trainer.module.state_dict(),
            "optimizer": trainer.plain.state_dict(),
            "scheduler": trainer.scheduler.state_dict(),
            "scaler": {} if trainer.scaler is None else trainer.scaler.state_dict(),
            "progress": self.progress.to_dict(),
        }

    def _circumstances(self, folder: TrainingFolder) -> dict[str, Any]:
        fabric = self._trainer.fabric
        facts = device_facts(fabric.device, torch.get_num_threads())
        names = ("bamsearch", "lightning-fabric", "torchvision", "torch")
        return {
            "parameters": sum(p.numel() for p in self._trainer.module.parameters()),
            "device": facts.name,
            "threads": facts.threads,
            "processes": fabric.world_size,
            "versions": {name: version(name) for name in names} | dict(facts.versions),
            "command": folder.command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _events(self) -> Any:
        """A writer for TensorBoard, if requested."""
        if self._folder is None or not self._folder.tensorboard:
            return None
        from torch.utils.tensorboard import SummaryWriter

        # Purges events of epochs after the checkpoint, written by a killed process.
        return SummaryWriter(self._folder.path / EVENTS, purge_step=self.progress.epoch + 1)


def _add_events(events: Any, row: EpochMetrics) -> None:
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"):
        events.add_scalar(name.replace("_", "/"), getattr(row, name), row.epoch)
    events.flush()
