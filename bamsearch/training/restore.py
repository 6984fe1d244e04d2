"""The state of a training from a checkpoint: into network, optimizer and schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bamsearch.errors import TrainingError
from bamsearch.training.about import Checkpoint

# The rest follows from the recipe.
_MOVES = {"last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"}


def restore(
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: torch.amp.GradScaler | None,
    saved: Checkpoint,
) -> None:
    """Load the states of a checkpoint.

    Args:
        module: network, as it was when the checkpoint was written.
        optimizer: of its parameters.
        scheduler: of the optimizer's rates.
        scaler: of 16-mixed.
        saved: the checkpoint.

    Raises:
        TrainingError: a state that does not fit.
    """
    try:
        _check_optimizer(saved["optimizer"], optimizer)
        _check_schedule(saved["scheduler"], scheduler.state_dict(), "scheduler")
        module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        if scaler is not None:
            scaler.load_state_dict(saved["scaler"])
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TrainingError(
            f"the checkpoint does not fit the training ({reason}): start anew"
        ) from error


def _check_optimizer(saved: Mapping[str, Any], optimizer: Optimizer) -> None:
    fresh = optimizer.state_dict()
    _check_like(saved["param_groups"], fresh["param_groups"], "param_groups")
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    for number, state in saved["state"].items():
        for name, value in state.items():
            fits = isinstance(value, Tensor) and value.shape == parameters[number].shape
            if value is not None and not fits:
                raise ValueError(f"{name} of parameter {number} has another shape or type")


def _check_schedule(saved: Any, fresh: Any, name: str) -> None:
    """Raise ValueError where what the recipe decides of a schedule is another."""
    if isinstance(fresh, Mapping):
        for key in saved.keys() & fresh.keys():
            check = _check_like if key in _MOVES else _check_schedule
            check(saved[key], fresh[key], f"{name} {key}")
    elif isinstance(fresh, list) and any(isinstance(item, Mapping) for item in fresh):
        for one, other in zip(saved, fresh, strict=True):
            _check_schedule(one, other, name)
    elif saved != fresh:
        raise ValueError(f"{name} differs")


def _check_like(saved: Any, fresh: Any, name: str) -> None:
    """Raise ValueError where a value has another type than it has in a new training."""
    if isinstance(fresh, Mapping):
        for key in fresh:
            _check_like(saved[key], fresh[key], f"{name} {key}")
    elif isinstance(fresh, Sequence) and not isinstance(fresh, str):
        for one, other in zip(saved, fresh, strict=True):
            _check_like(one, other, name)
    elif _kind(saved) is not _kind(fresh):
        raise ValueError(f"{name} is {type(saved).__name__}, expected {type(fresh).__name__}")


def _kind(value: object) -> type:
    return float if type(value) is int else type(value)
