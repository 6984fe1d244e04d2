"""Set up Lightning Fabric for a device and precision, in one process or under ``torchrun``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from bamsearch.errors import DeviceError, InvalidValueError, MissingExtraError
from bamsearch.profiling.devices import resolve_device
from bamsearch.training.recipe import Precision, Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def check_fabric() -> None:
    """Raise MissingExtraError if Lightning Fabric is not installed."""
    if find_spec("lightning_fabric") is None:
        raise MissingExtraError("lightning-fabric", "train")


def make_fabric(device: str, recipe: Recipe) -> tuple[Fabric, torch.amp.GradScaler | None]:
    """Launch Fabric, and create the gradient scaler for 16-mixed.

    Under ``torchrun`` each process uses the GPU of its local rank; without GPUs, or with
    ``device="cpu"``, the CPU. DistributedDataParallel averages gradients; batch norm statistics
    are computed per process.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        recipe: recipe with precision and total batch size.

    Raises:
        MissingExtraError: Lightning Fabric is not installed.
        DeviceError: unknown device, or one that does not support the precision.
        InvalidValueError: the batch size is not divisible by the number of processes.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.precision import MixedPrecision, Precision
    except ImportError as error:
        raise MissingExtraError("lightning-fabric", "train") from error
    target = resolve_device(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if recipe.batch_size % world:
        raise InvalidValueError(
            f"a batch of {recipe.batch_size} is not divisible by {world} processes: "
            f"use `batch_size={recipe.batch_size // world * world or world}`"
        )
    scaler = _scaler(target, recipe.precision)
    plugin: Precision = (
        Precision()
        if recipe.precision == "32"
        else MixedPrecision(recipe.precision, target.type, scaler)
    )
    if world > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        fabric = Fabric(
            accelerator=target.type,
            devices=local,
            num_nodes=world // local,
            strategy="ddp",
            plugins=[plugin],
        )
    else:
        devices = [target.index or 0] if target.type == "cuda" else 1
        fabric = Fabric(accelerator=target.type, devices=devices, plugins=[plugin])
    fabric.launch()
    return fabric, scaler


def _scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler | None:
    if precision != "16-mixed":
        return None
    if device.type == "cpu":
        raise DeviceError("16-mixed needs a GPU: use `precision=bf16-mixed`, or `device=cuda`")
    return torch.amp.GradScaler(device.type)
