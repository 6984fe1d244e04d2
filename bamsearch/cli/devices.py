"""Which devices torch finds here, and the one that ``--device`` means."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bamsearch.errors import InvalidValueError

if TYPE_CHECKING:
    import torch

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """A device, as ``--device`` names it, and what it is."""

    name: str
    description: str


def list_devices() -> list[Device]:
    """All devices that torch can use, the CPU first."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    devices = [Device("cpu", f"{platform.machine()}, {capability}")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            description = f"{about.name}, {about.total_memory / GIB:.0f} GiB"
            devices.append(Device(f"cuda:{index}", description))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return devices


def resolve_device(name: str) -> torch.device:
    """The device that name means on this machine.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for the first of cuda, mps, cpu.

    Raises:
        InvalidValueError: there is no such device here.
    """
    import torch

    present = [device.name for device in list_devices()]
    if name == "auto":
        name = next((device for device in present if device != "cpu"), "cpu")
    if name == "cuda" and "cuda:0" in present:
        name = "cuda:0"
    if name not in present:
        raise InvalidValueError(
            f"there is no device {name} here: give --device {' or '.join(present)}, or auto"
        )
    return torch.device(name)
