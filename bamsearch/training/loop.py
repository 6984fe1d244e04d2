"""One epoch: a step for every batch, then the validation images.

Everything random in a step follows from (seed, epoch, step): the images, what is done to them, and
dropout. So there is no random state to keep, trainings with one seed are pairs whatever their
networks draw, and a step that is taken again after a kill is the same step.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bamsearch.data.splits import Data, Split
from bamsearch.errors import DivergedError
from bamsearch.training.augment import Transform
from bamsearch.training.classes import correct, right, total_loss
from bamsearch.training.parts import Batch, training_batches, validation_batches
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LOOK = 20
"""Steps between two looks at the loss: on a GPU each look waits for it."""


@dataclass(slots=True, eq=False)
class Live:
    """A training in memory.

    Attributes:
        fabric: devices, precision and processes.
        module: the network itself.
        network: the same as Fabric calls it.
        optimizer: as Fabric steps it.
        plain: torch's own optimizer inside.
        scheduler: of its rates, stepped after each step.
        scaler: of 16-mixed; None otherwise.
        recipe: what is done.
        data: what with.
        seed: of everything random.
        augment: from bytes to bytes.
        normalise: from bytes to floats.
    """

    fabric: Fabric
    module: nn.Module
    network: Callable[[Tensor], object]
    optimizer: Optimizer
    plain: Optimizer
    scheduler: LRScheduler
    scaler: torch.amp.GradScaler | None
    recipe: Recipe
    data: Data
    seed: int
    augment: Transform
    normalise: Transform


def _take_step(live: Live, epoch: int, step: int, batch: Batch) -> Tensor:
    """One optimizer step: summed loss, correct images, images and learning rate, (4,) float32."""
    images, labels = batch
    torch.manual_seed(_number(live, epoch, step))
    output = live.network(live.normalise(live.augment(images)))
    loss = total_loss(output, labels, live.recipe.label_smoothing)
    live.fabric.backward(loss / len(images))
    rate = live.plain.param_groups[0]["lr"]
    live.optimizer.step()
    live.optimizer.zero_grad()
    live.scheduler.step()
    facts = [loss.detach(), right(output, labels), torch.tensor(len(images)), torch.tensor(rate)]
    return torch.stack([fact.to(live.fabric.device, torch.float32) for fact in facts])


def train_epoch(
    live: Live,
    progress: Progress,
    pause: Callable[[], bool],
    paused: Callable[[], None],
) -> None:
    """Take the steps that are left of the epoch that progress is in.

    Args:
        live: the training.
        progress: is moved on.
        pause: asked after each step whether to call paused.
        paused: called with all in order between two steps; also after every few steps and the last.

    Raises:
        DivergedError: the loss is no number.
    """
    fabric = live.fabric
    live.module.train()
    found: list[Tensor] = []
    epoch, first = progress.epoch, progress.step
    if first == 0:
        progress.lr = live.plain.param_groups[0]["lr"]
    images = training_batches(
        live.data.train,
        live.recipe.batch_size,
        seed=live.seed,
        epoch=epoch,
        first=first,
        rank=fabric.global_rank,
        world=fabric.world_size,
        device=fabric.device,
    )
    for step, batch in enumerate(images, start=first):
        found.append(_take_step(live, epoch, step, batch))
        asked = pause()
        if asked or len(found) == _LOOK or step + 1 == progress.steps:
            _take_in(live, progress, found)
            found = []
            paused()


def _number(live: Live, epoch: int, step: int) -> int:
    """A seed of its own for every process and step."""
    return zlib.crc32(f"{live.seed} {live.fabric.global_rank} {epoch} {step}".encode())


def _take_in(live: Live, progress: Progress, found: list[Tensor]) -> None:
    """Add what steps have given to the progress, if all of it are numbers."""
    for loss, hits, images, rate in torch.stack(found).tolist():
        if loss != loss or abs(loss) == float("inf"):
            raise DivergedError(_diverged(live, progress, loss, rate))
        progress.step += 1
        progress.loss += loss
        progress.right += int(hits)
        progress.images += int(images)


def _diverged(live: Live, progress: Progress, loss: float, rate: float) -> str:
    mixed = live.recipe.precision != "32"
    also = ", or --precision 32" if mixed else ""
    return (
        f"the loss is {loss} in epoch {progress.epoch + 1}, step {progress.step + 1} of "
        f"{progress.steps}, at a learning rate of {rate:.4g}: "
        f"start anew with --lr {live.recipe.lr / 10:.3g}{also}"
    )


def validate(live: Live) -> tuple[float, int]:
    """Mean cross-entropy over the validation images, and how many are right, in all processes."""
    fabric, split = live.fabric, live.data.validation
    live.module.eval()
    _share_buffers(live)
    loss = torch.zeros((), device=fabric.device)
    hits = torch.zeros((), device=fabric.device, dtype=torch.int64)
    found = validation_batches(
        split,
        live.recipe.batch_size,
        rank=fabric.global_rank,
        world=fabric.world_size,
        device=fabric.device,
    )
    with torch.no_grad(), fabric.autocast():
        for images, labels in found:
            # Not the network as Fabric calls it: processes may have unlike numbers of batches.
            output = live.module(live.normalise(images))
            loss += total_loss(output, labels)
            hits += right(output, labels)
    return total(live, float(loss)) / len(split), int(total(live, float(hits)))


def classify(live: Live, split: Split) -> Tensor:
    """Whether each image of a split is classified correctly, (N,) bool on the CPU; one process."""
    live.module.eval()
    images = validation_batches(split, live.recipe.batch_size, device=live.fabric.device)
    with torch.no_grad(), live.fabric.autocast():
        parts = [correct(live.module(live.normalise(some)), labels) for some, labels in images]
    return torch.cat(parts).cpu()


def total(live: Live, number: float) -> float:
    """The sum of a number over all processes."""
    if live.fabric.world_size == 1:
        return number
    own = torch.tensor(number, device=live.fabric.device, dtype=torch.float64)
    torch.distributed.all_reduce(own)
    return float(own)


def _share_buffers(live: Live) -> None:
    """Give all processes the first one's batch norm statistics, which are those that are kept."""
    if live.fabric.world_size > 1:
        for buffer in live.module.buffers():
            torch.distributed.broadcast(buffer, 0)
