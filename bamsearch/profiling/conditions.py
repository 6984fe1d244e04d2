"""Conditions under which a model runs, error messages for their failures, and state restoration.

The caller's state (thread count, gradient mode, random state) is always restored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypedDict, get_args

import torch

from bamsearch.errors import BamsearchError, DeviceError
from bamsearch.records import (
    DeviceFacts,
    DType,
    MemoryFormat,
    Mode,
    check_choice,
    check_positive,
)

try:
    import resource
except ImportError:  # not available on Windows
    resource = None  # type: ignore[assignment]

_MEMORY_INFO = Path("/proc/meminfo")
_OWN_SIZE = Path("/proc/self/statm")
# Out-of-memory messages of CPU, MPS, cuBLAS and cuDNN, which raise no dedicated error class.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


class Conditions(TypedDict, total=False):
    """Conditions under which a model runs; missing ones default to ``DEFAULTS``.

    Attributes:
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for the first of cuda, mps, cpu.
        batch_size: number of inputs per call.
        dtype: data type of weights and input.
        memory_format: memory format of weights and input: ``contiguous``, or ``channels_last`` for
            all tensors with 4 axes and channels_last_3d for those with 5.
        mode: ``eager``, ``compile`` (torch.compile) or ``cudagraph`` (captured once, replayed).
        train: forward and backward in train mode, instead of forward in eval mode.
        threads: number of torch threads on a CPU.
    """

    device: str
    batch_size: int
    dtype: DType
    memory_format: MemoryFormat
    mode: Mode
    train: bool
    threads: int


DEFAULTS: Conditions = {
    "device": "cpu",
    "batch_size": 1,
    "dtype": "float32",
    "memory_format": "contiguous",
    "mode": "eager",
    "train": False,
    "threads": 1,
}


class OutOfMemory(DeviceError):
    """A batch that does not fit into the device's memory."""


def complete(conditions: Conditions) -> Conditions:
    """Fill in the defaults of conditions, and check all values."""
    unknown = ", ".join(conditions.keys() - DEFAULTS.keys())
    if unknown:
        raise TypeError(f"unknown conditions: {unknown}; choose from {', '.join(DEFAULTS)}")
    completed: Conditions = {**DEFAULTS, **conditions}
    check_positive("batch_size", completed["batch_size"])
    check_positive("threads", completed["threads"])
    check_choice("dtype", completed["dtype"], get_args(DType))
    check_choice("memory_format", completed["memory_format"], get_args(MemoryFormat))
    check_choice("mode", completed["mode"], get_args(Mode))
    return completed


def recorded(conditions: Conditions, facts: DeviceFacts) -> dict[str, Any]:
    """The conditions as fields of a :class:`Timing` and a :class:`LatencyConditions`."""
    names = ("batch_size", "dtype", "memory_format", "mode", "train")
    return {name: value for name, value in conditions.items() if name in names} | {"device": facts}


@contextmanager
def as_device_error(name: str, device: torch.device, conditions: Conditions) -> Iterator[None]:
    """Convert torch's errors for a model of this name into a DeviceError with the next step."""
    try:
        yield
    except BamsearchError:
        raise
    except Exception as error:  # A user's forward can raise any exception.
        if out_of_memory(error):
            raise OutOfMemory(
                f"{name} with a batch of {conditions['batch_size']} does not fit into the memory "
                f"of {device}"
            ) from error
        dtype, mode = conditions["dtype"], conditions["mode"]
        raise DeviceError(
            f"{name} does not run in {dtype}, mode {mode}, on {device}: {_reason(error)}. "
            f"{_next_step(error, dtype, mode)}"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether error or its cause is an out-of-memory error of a device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS):
        return True
    return error.__cause__ is not None and out_of_memory(error.__cause__)


@contextmanager
def preserve_torch_state(device: torch.device, threads: int = 1) -> Iterator[None]:
    """Run with gradients enabled and a number of CPU threads, then restore the caller's state.

    The device is the current one inside; its random state is preserved besides the CPU's.
    """
    before = torch.get_num_threads()
    random = torch.get_rng_state()
    with ExitStack() as stack:
        stack.callback(torch.set_rng_state, random)
        if device.type == "cuda":
            stack.enter_context(torch.cuda.device(device))
            stack.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device)
        elif device.type == "mps":
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        else:
            stack.callback(torch.set_num_threads, before)
            torch.set_num_threads(threads)
        with torch.inference_mode(False), torch.enable_grad():
            yield


@contextmanager
def limit_address_space() -> Iterator[None]:
    """Limit the address space to available memory: allocations fail instead of being OOM-killed.

    Linux overcommits memory, and kills a process that uses more than there is. On other systems
    this does nothing.
    """
    try:
        free = int(_MEMORY_INFO.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
        taken = int(_OWN_SIZE.read_text().split()[0]) * resource.getpagesize()
    except (OSError, AttributeError, IndexError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [taken + free, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _reason(error: Exception) -> str:
    """The first informative line, skipping "backend='inductor' raised:"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if not line.endswith("raised:")), type(error).__name__)
    return reason.rstrip(".")


def _next_step(error: Exception, dtype: str, mode: str) -> str:
    if "more than 1 value per channel" in str(error):
        return "BatchNorm cannot train on a single value: use `batch_size=2` or more"
    if mode != "eager":
        return "Use `mode=eager`"
    if dtype != "float32":
        return "Use `dtype=float32`"
    return "Does the model accept a single tensor of this input shape?"
