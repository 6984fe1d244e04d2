"""The state of a training: network, optimizer and schedule, new or restored from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from bamsearch.data.splits import Data
from bamsearch.errors import TrainingError
from bamsearch.training.augment import Transform, augment, normalise_pixels
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.metadata import Checkpoint, training_metadata
from bamsearch.training.recipe import Recipe
from bamsearch.training.shards import steps_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_WARMUP_START = 0.01
"""Initial share of the learning rate in warm-up."""

# All other entries of the schedulers' states follow from the recipe.
_COUNTERS = {"last_epoch", "_step_count"}
_SWITCHES = {"_get_lr_called_within_step", "_is_initial"}
# torch fills in these entries if they are missing.
_FILLED_IN = {"maximize", "foreach", "differentiable", "fused"}


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Everything that determines the result of a training.

    Attributes:
        initial: the initial network, whose module is trained.
        data: the data set.
        recipe: the recipe.
        seed: random seed.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    initial: InitialModel
    data: Data
    recipe: Recipe
    seed: int = 0
    device: str = "auto"

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        return steps_of(self.data.train, self.recipe.batch_size)

    def metadata(self) -> dict[str, Any]:
        """See :func:`bamsearch.training.metadata.training_metadata`."""
        return training_metadata(self.initial, self.data.facts, self.recipe, self.seed)


@dataclass(slots=True, eq=False)
class TrainerState:
    """The state of a running training.

    Attributes:
        fabric: devices, precision and processes.
        module: the network.
        network: the network wrapped by Fabric.
        optimizer: the optimizer wrapped by Fabric.
        plain: torch's optimizer inside the wrapper.
        scheduler: learning rate scheduler, stepped after each step.
        scaler: gradient scaler for 16-mixed; None otherwise.
        recipe: the recipe.
        data: the data set.
        seed: random seed.
        augment: augmentation, from bytes to bytes.
        normalise: normalisation, from bytes to floats.
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


def make_trainer_state(
    training: Training,
    fabric: Fabric,
    scaler: torch.amp.GradScaler | None,
    saved: Checkpoint | None,
) -> TrainerState:
    """Set up a training on its device, resuming from a checkpoint if there is one."""
    initial, recipe = training.initial, training.recipe
    module = initial.module.to(fabric.device)
    optimizer = SGD(
        _groups(initial, recipe),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    scheduler = make_schedule(optimizer, recipe, training.steps)
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
        training.data,
        training.seed,
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


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """A torch scheduler, to be stepped after every one of the ``steps`` per epoch.

    The groups of the optimizer have their maximum learning rates.
    """
    total = recipe.epochs * steps
    # At least one step remains for the schedule itself.
    warmup = min(round(recipe.warmup * steps), total - 1)
    main: LRScheduler
    if recipe.schedule == "step":
        # Counted from the end of the warm-up, when this scheduler starts.
        drops = [max(milestone * steps - warmup, 0) for milestone in recipe.milestones]
        main = lr_scheduler.MultiStepLR(optimizer, drops, gamma=0.1)
    else:
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - warmup)
    if not warmup:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=_WARMUP_START, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[warmup])


def restore(
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: torch.amp.GradScaler | None,
    saved: Checkpoint,
) -> None:
    """Load the states of a checkpoint; raise TrainingError if one does not match."""
    try:
        _check_optimizer(saved["optimizer"], optimizer)
        _check_schedule(saved["scheduler"], scheduler.state_dict())
        module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        if scaler is not None:
            scaler.load_state_dict(saved["scaler"])
    except (
        AttributeError,
        LookupError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TrainingError(
            f"the checkpoint does not match the training ({reason}): start again"
        ) from error


def _check_optimizer(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    groups = optimizer.state_dict()["param_groups"]
    for group, fresh in zip(saved["param_groups"], groups, strict=True):
        if not isinstance(group, Mapping):
            raise TypeError("a group of parameters is not an object")
        for key in fresh.keys() - _FILLED_IN - {"lr"}:
            _check_equal(group[key], fresh[key], f"optimizer {key}")
        # Schedules never exceed the initial rate.
        if not 0 <= group["lr"] <= fresh.get("initial_lr", fresh["lr"]) * 1.001:
            raise ValueError("the learning rate is out of range")
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    for number, state in saved["state"].items():
        for name, value in state.items():
            fits = isinstance(value, Tensor) and value.shape == parameters[number].shape
            if value is not None and not fits:
                raise ValueError(f"{name} of parameter {number} has another shape or type")


def _check_schedule(saved: Any, fresh: Any, name: str = "scheduler") -> None:
    """Raise ValueError if a schedule does not follow from the recipe."""
    if isinstance(fresh, Mapping) and isinstance(saved, Mapping):
        for key in saved.keys() & fresh.keys():
            if key in _COUNTERS:
                if type(saved[key]) is not int or not -1 <= saved[key] < 2**31:
                    raise ValueError(f"{name} {key} is not a number of steps")
            elif key == "_last_lr":
                _check_rates(saved[key], fresh[key])
            else:
                _check_schedule(saved[key], fresh[key], f"{name} {key}")
    elif isinstance(fresh, list) and any(isinstance(item, Mapping) for item in fresh):
        for saved_item, fresh_item in zip(saved, fresh, strict=True):
            _check_schedule(saved_item, fresh_item, name)
    elif name.rpartition(" ")[2] not in _SWITCHES:
        _check_equal(saved, fresh, name)


def _check_rates(saved: Any, fresh: Any) -> None:
    for rate, _ in zip(saved, fresh, strict=True):
        if not isinstance(rate, int | float) or not 0 <= rate < 1e38:
            raise ValueError("a learning rate is out of range")


def _check_equal(saved: Any, fresh: Any, name: str) -> None:
    if type(saved) is not type(fresh) or saved != fresh:
        raise ValueError(f"{name} differs from the recipe's")
