"""Run a training from its first epoch, or its last checkpoint, to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import SGD

from bamsearch.data.splits import Data
from bamsearch.errors import TrainingError
from bamsearch.profiling.devices import device_facts
from bamsearch.records import Design
from bamsearch.training.augment import augment, normalise_pixels
from bamsearch.training.folder import EVENTS, TrainingFolder
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.loop import TrainerState, sum_over_processes, train_epoch, validate
from bamsearch.training.metadata import Checkpoint
from bamsearch.training.progress import EpochMetrics, Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.restore import restore
from bamsearch.training.schedule import make_schedule
from bamsearch.training.shards import steps_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_trainer_state(
    initial: InitialModel,
    data: Data,
    recipe: Recipe,
    seed: int,
    fabric: Fabric,
    scaler: torch.amp.GradScaler | None,
    saved: Checkpoint | None,
) -> TrainerState:
    """Set up a training on its device.

    Args:
        initial: the initial network, whose module is moved to the device and trained.
        data: the data set.
        recipe: the recipe.
        seed: random seed.
        fabric: devices, precision and processes.
        scaler: gradient scaler for 16-mixed.
        saved: the checkpoint to resume from, if any.
    """
    module = initial.module.to(fabric.device)
    optimizer = SGD(
        _groups(initial, recipe),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    scheduler = make_schedule(optimizer, recipe, steps_of(data.train, recipe.batch_size))
    if saved is not None:
        # Before Fabric wraps them: loading replaces the optimizer's groups.
        restore(module, optimizer, scheduler, scaler, saved)
    network, wrapped = fabric.setup(module, optimizer)
    return TrainerState(
        fabric,
        module,
        network,
        wrapped,
        optimizer,
        scheduler,
        scaler,
        recipe,
        data,
        seed,
        augment(recipe.augment),
        normalise_pixels(initial.mean, initial.std),
    )


def _groups(initial: InitialModel, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups of pretrained and of new parameters, which may have another learning rate."""
    named = dict(initial.module.named_parameters())
    fresh = [value for name, value in named.items() if name in initial.fresh]
    rest = [value for name, value in named.items() if name not in initial.fresh]
    groups = [
        {"params": rest, "lr": recipe.lr},
        {"params": fresh, "lr": recipe.lr * recipe.new_lr_factor},
    ]
    return [group for group in groups if group["params"]]


class TrainingRun:
    """A training and its folder.

    Args:
        trainer: the training in memory.
        metadata: metadata for its checkpoints.
        folder: folder of the training; None writes nothing, as in all processes but the first.
        stop: called between steps; tells whether to stop with a checkpoint.
        watch: called after every few steps and every epoch.
    """

    def __init__(
        self,
        trainer: TrainerState,
        metadata: Mapping[str, Any],
        folder: TrainingFolder | None,
        stop: Callable[[], bool],
        watch: Callable[[Progress], None] | None,
    ) -> None:
        self.progress = Progress(steps=steps_of(trainer.data.train, trainer.recipe.batch_size))
        self._trainer = trainer
        self._metadata = metadata
        self._folder = folder
        self._stop = stop
        self._watch = watch or (lambda progress: None)
        self._saved = time.monotonic()
        self._looked = time.monotonic()

    def begin(self, design: Design | None) -> None:
        """Write the metadata, and a checkpoint before the first step."""
        if self._folder is not None:
            metadata = {**self._metadata, **self._circumstances(self._folder)}
            self._folder.begin(metadata, design, self._state())
            self._saved = time.monotonic()

    def resume(self, progress: Progress) -> None:
        """Continue from a checkpoint's progress.

        Raises:
            TrainingError: the checkpoint has another number of steps per epoch.
        """
        if progress.steps != self.progress.steps:
            raise TrainingError(
                f"the checkpoint has {progress.steps} steps per epoch, but the data give "
                f"{self.progress.steps}: start again"
            )
        self.progress = progress

    def go(self) -> None:
        """Train the remaining epochs.

        Raises:
            DivergedError: the loss became NaN or infinite.
            KeyboardInterrupt: the training was asked to stop, and saved a checkpoint.
        """
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
