"""Lightning Fabric for a device and a precision: one process, or several under ``torchrun``."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from bamsearch.errors import DeviceError, InvalidValueError, MissingExtraError
from bamsearch.profile.devices import resolve_device
from bamsearch.training.recipe import Precision, Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def check_fabric() -> None:
    """Raise MissingExtraError where Lightning Fabric is not installed."""
    if find_spec("lightning_fabric") is None:
        raise MissingExtraError("lightning-fabric", "train")


def make_fabric(device: str, recipe: Recipe) -> tuple[Fabric, torch.amp.GradScaler | None]:
    """A launched Fabric, and the scaler of 16-mixed.

    Under ``torchrun`` each process takes the GPU of its local rank; without GPUs, or with
    ``device="cpu"``, the CPU. Gradients are averaged by DistributedDataParallel; batch norms take
    the statistics of their own process.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        recipe: its precision, and its batch, which the processes share.

    Raises:
        MissingExtraError: Lightning Fabric is not installed.
        DeviceError: no such device, or one without that precision.
        InvalidValueError: a batch that the processes cannot share evenly.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.precision import MixedPrecision, Precision
    except ImportError as error:
        raise MissingExtraError("lightning-fabric", "train") from error
    where = resolve_device(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if recipe.batch_size % world:
        raise InvalidValueError(
            f"a batch of {recipe.batch_size} cannot be shared by {world} processes: "
            f"give --batch-size {recipe.batch_size // world * world or world}"
        )
    scaler = _scaler(where, recipe.precision)
    plugin: Precision = (
        Precision()
        if recipe.precision == "32"
        else MixedPrecision(recipe.precision, where.type, scaler)
    )
    if world > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        fabric = Fabric(
            accelerator=where.type,
            devices=local,
            num_nodes=world // local,
            strategy="ddp",
            plugins=[plugin],
        )
    else:
        devices = [where.index or 0] if where.type == "cuda" else 1
        fabric = Fabric(accelerator=where.type, devices=devices, plugins=[plugin])
    fabric.launch()
    return fabric, scaler


def _scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler | None:
    if precision != "16-mixed":
        return None
    if device.type == "cpu":
        raise DeviceError("16-mixed needs a GPU: give --precision bf16-mixed, or --device cuda")
    return torch.amp.GradScaler(device.type)
