"""The training loop of an epoch, and validation.

All randomness of a step (the images, augmentation, dropout) follows from (seed, epoch, step). So no
random state has to be saved, trainings with the same seed are paired whatever their networks draw,
and a step repeated after a kill is identical.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from bamsearch.data.splits import Split
from bamsearch.errors import DivergedError
from bamsearch.graph.tracing.observing import seed_torch
from bamsearch.training.classes import correct, right, total_loss
from bamsearch.training.progress import Progress
from bamsearch.training.shards import LabelledBatch, training_batches, validation_batches
from bamsearch.training.trainer import TrainerState

_LOOK = 20
"""Number of steps between reads of the loss, which synchronise with a GPU."""


def _take_step(trainer: TrainerState, epoch: int, step: int, batch: LabelledBatch) -> Tensor:
    """Run an optimizer step; return summed loss, correct images, images and rate, (4,) float32."""
    images, labels = batch
    seed_torch(_step_seed(trainer, epoch, step))
    output = trainer.network(trainer.normalise(trainer.augment(images)))
    loss = total_loss(output, labels, trainer.recipe.label_smoothing)
    trainer.fabric.backward(loss / len(images))
    rate = trainer.plain.param_groups[0]["lr"]
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.scheduler.step()
    metrics = [loss.detach(), right(output, labels), torch.tensor(len(images)), torch.tensor(rate)]
    return torch.stack([metric.to(trainer.fabric.device, torch.float32) for metric in metrics])


def train_epoch(
    trainer: TrainerState,
    progress: Progress,
    pause: Callable[[], bool],
    paused: Callable[[], None],
) -> None:
    """Run the remaining steps of the current epoch, and update the progress.

    After each step, ``pause`` tells whether to call ``paused``, which sees up-to-date progress; it
    is also called after every few steps, and after the last one.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    fabric = trainer.fabric
    trainer.module.train()
    pending: list[Tensor] = []
    epoch, first = progress.epoch, progress.step
    if first == 0:
        progress.lr = trainer.plain.param_groups[0]["lr"]
    images = training_batches(
        trainer.data.train,
        trainer.recipe.batch_size,
        seed=trainer.seed,
        epoch=epoch,
        first=first,
        rank=fabric.global_rank,
        world=fabric.world_size,
        device=fabric.device,
    )
    for step, batch in enumerate(images, start=first):
        pending.append(_take_step(trainer, epoch, step, batch))
        requested = pause()
        if requested or len(pending) == _LOOK or step + 1 == progress.steps:
            _update_progress(trainer, progress, pending)
            pending = []
            paused()


def _step_seed(trainer: TrainerState, epoch: int, step: int) -> int:
    """A separate seed for every process and step."""
    return zlib.crc32(f"{trainer.seed} {trainer.fabric.global_rank} {epoch} {step}".encode())


def _update_progress(trainer: TrainerState, progress: Progress, metrics: list[Tensor]) -> None:
    """Add the metrics of steps to the progress; raise DivergedError if a loss is not finite."""
    for loss, hits, images, rate in torch.stack(metrics).tolist():
        if loss != loss or abs(loss) == float("inf"):
            raise DivergedError(_diverged(trainer, progress, loss, rate))
        progress.step += 1
        progress.loss += loss
        progress.right += int(hits)
        progress.images += int(images)


def _diverged(trainer: TrainerState, progress: Progress, loss: float, rate: float) -> str:
    mixed = trainer.recipe.precision != "32"
    also = ", or `precision=32`" if mixed else ""
    return (
        f"the loss is {loss} in epoch {progress.epoch + 1}, step {progress.step + 1} of "
        f"{progress.steps}, at a learning rate of {rate:.4g}: "
        f"start again with `lr={trainer.recipe.lr / 10:.3g}`{also}"
    )


def validate(trainer: TrainerState) -> tuple[float, int]:
    """Mean cross-entropy and number of correct validation images, over all processes."""
    fabric, split = trainer.fabric, trainer.data.validation
    trainer.module.eval()
    _share_buffers(trainer)
    loss = torch.zeros((), device=fabric.device)
    hits = torch.zeros((), device=fabric.device, dtype=torch.int64)
    batches = validation_batches(
        split,
        trainer.recipe.batch_size,
        rank=fabric.global_rank,
        world=fabric.world_size,
        device=fabric.device,
    )
    with torch.no_grad(), fabric.autocast():
        for images, labels in batches:
            # Not the wrapped network: processes may have different numbers of batches.
            output = trainer.module(trainer.normalise(images))
            loss += total_loss(output, labels)
            hits += right(output, labels)
    return sum_over_processes(trainer, float(loss)) / len(split), int(
        sum_over_processes(trainer, float(hits))
    )


def classify(trainer: TrainerState, split: Split) -> Tensor:
    """Whether each image of a split is classified correctly, (N,) bool on the CPU; one process."""
    trainer.module.eval()
    batches = validation_batches(split, trainer.recipe.batch_size, device=trainer.fabric.device)
    with torch.no_grad(), trainer.fabric.autocast():
        parts = [
            correct(trainer.module(trainer.normalise(images)), labels) for images, labels in batches
        ]
    return torch.cat(parts).cpu()


def sum_over_processes(trainer: TrainerState, number: float) -> float:
    """The sum of a number over all processes."""
    if trainer.fabric.world_size == 1:
        return number
    reduced = torch.tensor(number, device=trainer.fabric.device, dtype=torch.float64)
    torch.distributed.all_reduce(reduced)
    return float(reduced)


def _share_buffers(trainer: TrainerState) -> None:
    """Copy the first process's batch norm statistics, which are saved, to all processes."""
    if trainer.fabric.world_size > 1:
        for buffer in trainer.module.buffers():
            torch.distributed.broadcast(buffer, 0)
