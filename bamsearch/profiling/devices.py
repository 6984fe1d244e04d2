"""List torch's devices, resolve ``--device``, and describe a device."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.errors import DeviceError
from bamsearch.records import DeviceFacts

if TYPE_CHECKING:
    import torch

GIB = 2**30
_CPU_INFO = Path("/proc/cpuinfo")
_DRIVER_INFO = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """A device: its name for ``--device``, and a description."""

    name: str
    description: str


def list_devices() -> list[Device]:
    """All devices that torch can use, the CPU first."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    devices = [Device("cpu", f"{platform.machine()}, {capability}")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            description = f"{properties.name}, {properties.total_memory / GIB:.0f} GiB"
            devices.append(Device(f"cuda:{index}", description))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU"))
    return devices


def resolve_device(name: str) -> torch.device:
    """Resolve the name of a device on this machine.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for the first of cuda, mps, cpu.

    Raises:
        DeviceError: the device does not exist.
    """
    import torch

    present = [device.name for device in list_devices()]
    if name == "auto":
        name = next((device for device in present if device != "cpu"), "cpu")
    if name == "cuda" and "cuda:0" in present:
        name = "cuda:0"
    if name not in present:
        raise DeviceError(
            f"device {name} does not exist: use `device={' or '.join(present)}`, or auto"
        )
    return torch.device(name)


def device_facts(device: torch.device, threads: int = 1) -> DeviceFacts:
    """Facts about a device and its current settings, for the record of a timing.

    The number of threads is recorded for a CPU only.
    """
    import torch

    versions = {"torch": torch.__version__, "torchvision": version("torchvision")}
    if device.type == "cpu":
        return DeviceFacts("cpu", cpu_name(), threads, None, versions)
    if device.type != "cuda":
        return DeviceFacts(device.type, cpu_name(), None, None, versions)
    cudnn = torch.backends.cudnn
    # Not allow_tf32: reading it fails if a program uses the settings that replaced it.
    convolution = cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    precisions = (torch.backends.cuda.matmul.fp32_precision, convolution)
    versions["cuda"] = str(torch.version.cuda)
    versions["cudnn"] = str(cudnn.version())  # type: ignore[no-untyped-call]
    return DeviceFacts(
        kind="cuda",
        name=torch.cuda.get_device_name(device),
        threads=None,
        driver=_driver(),
        versions=versions,
        cudnn_benchmark=cudnn.benchmark,
        tf32="tf32" in precisions,
    )


def cpu_name() -> str:
    """Name of the processor."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+?)\s*$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


@cache
def _driver() -> str | None:
    """Version of the NVIDIA driver, from the kernel or nvidia-smi; None if unknown."""
    try:
        text = _DRIVER_INFO.read_text(encoding="utf-8")
    except OSError:
        text = _nvidia_smi()
    numbers = re.search(r"\b\d{3,}\.\d[\d.]*", text)
    return numbers[0] if numbers else None


def _nvidia_smi() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
