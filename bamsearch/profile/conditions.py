"""Conditions under which a model runs, what goes wrong under them, and what they may not disturb.

The caller's state (thread count, gradient mode, random state) is the same afterwards, whatever
happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypedDict, get_args

import torch

from bamsearch.errors import BamsearchError, DeviceError
from bamsearch.records import DType, MemoryFormat, Mode, check_choice, check_positive

try:
    import resource
except ImportError:  # Windows has none.
    resource = None  # type: ignore[assignment]

_MEMORY_INFO = Path("/proc/meminfo")
_OWN_SIZE = Path("/proc/self/statm")
# What devices say that have no error class of their own for it: CPU, MPS, cuBLAS and cuDNN.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


class Conditions(TypedDict, total=False):
    """Under which conditions a model runs; what is not given is as in ``DEFAULTS``.

    Attributes:
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto`` for the first of cuda, mps, cpu.
        batch_size: inputs in one call.
        dtype: of weights and input.
        memory_format: of weights and input: ``contiguous``, or ``channels_last`` for all tensors
            with 4 axes and channels_last_3d for those with 5.
        mode: ``eager``, ``compile`` (torch.compile) or ``cudagraph`` (captured once, replayed).
        train: forward and backward in train mode, instead of forward in eval mode.
        threads: torch's threads on a CPU.
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
    """A batch that does not fit."""


def complete(conditions: Conditions) -> Conditions:
    """Conditions with the defaults filled in, checked."""
    unknown = ", ".join(conditions.keys() - DEFAULTS.keys())
    if unknown:
        raise TypeError(f"unknown conditions: {unknown}; there are {', '.join(DEFAULTS)}")
    given: Conditions = {**DEFAULTS, **conditions}
    check_positive("batch_size", given["batch_size"])
    check_positive("threads", given["threads"])
    check_choice("dtype", given["dtype"], get_args(DType))
    check_choice("memory_format", given["memory_format"], get_args(MemoryFormat))
    check_choice("mode", given["mode"], get_args(Mode))
    return given


@contextmanager
def explained(
    name: str, batch_size: int, dtype: str, mode: str, device: torch.device
) -> Iterator[None]:
    """Turn what torch says of a device into a DeviceError with the next step.

    Args:
        name: of the model, for the message.
        batch_size: inputs in one call.
        dtype: of weights and input.
        mode: eager, compile or cudagraph.
        device: where it runs.
    """
    try:
        yield
    except BamsearchError:
        raise
    except Exception as error:  # A user's forward can raise anything at all.
        if out_of_memory(error):
            raise OutOfMemory(
                f"{name} with a batch of {batch_size} does not fit into the memory of {device}"
            ) from error
        raise DeviceError(
            f"{name} does not run in {dtype}, mode {mode}, on {device}: {_reason(error)}. "
            f"{_next_step(error, dtype, mode)}"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether error, or what it came from, is a device's memory having run out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _MEMORY_WORDS):
        return True
    return error.__cause__ is not None and out_of_memory(error.__cause__)


@contextmanager
def caller_kept(device: torch.device, threads: int = 1) -> Iterator[None]:
    """Run with gradients on and that many threads; afterwards the caller has all as it was.

    Args:
        device: the current one inside, and whose random state is kept besides the CPU's.
        threads: torch's threads on a CPU.
    """
    before = torch.get_num_threads()
    random = torch.get_rng_state()
    with ExitStack() as kept:
        kept.callback(torch.set_rng_state, random)
        if device.type == "cuda":
            kept.enter_context(torch.cuda.device(device))
            kept.callback(torch.cuda.set_rng_state, torch.cuda.get_rng_state(device), device)
        elif device.type == "mps":
            kept.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        else:
            kept.callback(torch.set_num_threads, before)
            torch.set_num_threads(threads)
        with torch.inference_mode(False), torch.enable_grad():
            yield


@contextmanager
def memory_fenced() -> Iterator[None]:
    """Let what does not fit into the main memory fail, instead of being killed for it.

    Linux promises memory that it does not have, and ends a process when it uses it. Elsewhere
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
    """The first line that says something: "backend='inductor' raised:" does not."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if not line.endswith("raised:")), type(error).__name__)
    return said.rstrip(".")


def _next_step(error: Exception, dtype: str, mode: str) -> str:
    if "more than 1 value per channel" in str(error):
        return "A BatchNorm cannot learn from one value: give --batch-size 2 or more"
    if mode != "eager":
        return "Give --mode eager"
    if dtype != "float32":
        return "Give --dtype float32"
    return "Does the model take one tensor, of this input shape?"
