"""Restore network, optimizer and schedule from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bamsearch.errors import TrainingError
from bamsearch.training.metadata import Checkpoint

# All other entries of the schedulers' states follow from the recipe.
_COUNTERS = {"last_epoch", "_step_count"}
_SWITCHES = {"_get_lr_called_within_step", "_is_initial"}
# torch fills in these entries if they are missing.
_FILLED_IN = {"maximize", "foreach", "differentiable", "fused"}


def restore(
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: torch.amp.GradScaler | None,
    saved: Checkpoint,
) -> None:
    """Load the states of a checkpoint.

    Args:
        module: the network, with the structure of the checkpoint.
        optimizer: optimizer of its parameters.
        scheduler: learning rate scheduler of the optimizer.
        scaler: gradient scaler for 16-mixed.
        saved: the checkpoint.

    Raises:
        TrainingError: a state does not match.
    """
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
