"""Peak memory: what the allocator says on a GPU, what autograd keeps on a CPU.

CUDA: ``torch.cuda.max_memory_allocated`` over one call after a first one. In it are weights,
buffers, input, activations, workspaces and, in a training step, gradients: all that PyTorch's
allocator has handed out on that device, also before (``Memory.already``). Not in it: the CUDA
context and what libraries allocate by themselves (hundreds of MB, the same for every model), what
the allocator has reserved but not handed out, and an optimizer's state (0, 1 or 2 times the
parameters for SGD, with momentum, Adam).

CPU, and MPS where torch keeps no peak: for a training step the bytes that autograd keeps between
forward and backward, which is what grows with the batch. Inference keeps nothing, and torch does
not track the CPU allocator's peak: there is no number then, and the record says so.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bamsearch.profile.conditions import Conditions, caller_kept, complete
from bamsearch.profile.devices import device_facts, resolve_device
from bamsearch.profile.saved import Packed
from bamsearch.profile.workload import workload
from bamsearch.records import DType, Memory, MemoryFormat, check_input_shape

ALLOCATOR = "peak of PyTorch's CUDA allocator"
SAVED = "bytes saved for backward"
NONE = "not measured"


def peak_memory(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    device: str = "cpu",
    batch_size: int = 1,
    dtype: DType = "float32",
    memory_format: MemoryFormat = "contiguous",
    train: bool,
) -> Memory:
    """Peak memory of one call of a model, see the top of this module for what is in it.

    Args:
        model: any module that takes one tensor; a copy is measured.
        input_shape: one input without the batch.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        batch_size: inputs at once.
        dtype: of weights and input.
        memory_format: of weights and input.
        train: forward and backward in train mode, else forward in inference mode.

    Returns:
        Bytes, or None with the reason.

    Raises:
        DeviceError: no such device, a dtype it lacks, or too little memory: on a GPU it then says
            which batch fits, as :func:`bamsearch.profile.workload.largest_batch` finds it.
        InvalidValueError: an impossible shape or condition.
    """
    shape = check_input_shape(input_shape)
    asked = complete(
        {
            "device": device,
            "batch_size": batch_size,
            "dtype": dtype,
            "memory_format": memory_format,
            "train": train,
        }
    )
    place = resolve_device(device)
    already, reason = 0, None
    found: int | None = None
    if place.type == "cuda":
        gc.collect()
        method, already = ALLOCATOR, torch.cuda.memory_allocated(place)
        found = _allocated(model, shape, asked)
    elif train:
        method, found = SAVED, _saved(model, shape, asked)
    else:
        method = NONE
        reason = f"torch keeps no peak of the memory of {place.type} in inference"
    facts = device_facts(place)
    return Memory(
        found, method, reason, already, shape, batch_size, dtype, memory_format, train, facts
    )


def _allocated(model: nn.Module, shape: tuple[int, ...], asked: Conditions) -> int:
    """The CUDA allocator's peak over the second call: the first one may try algorithms."""
    work = workload(model, shape, **asked)
    with caller_kept(work.device):
        torch.cuda.reset_peak_memory_stats(work.device)
        work.run()
        torch.cuda.synchronize(work.device)
        return torch.cuda.max_memory_allocated(work.device)


def _saved(model: nn.Module, shape: tuple[int, ...], asked: Conditions) -> int:
    """Bytes of the storages that autograd keeps at the end of a forward pass.

    Storages count once and whole, as a view keeps all of its own alive; parameters and buffers
    do not count, as they are there anyway. The input does.
    """
    kept: WeakSet[Packed] = WeakSet()
    hooks = saved_tensors_hooks(_pack_into(kept), lambda packed: packed.tensor)
    found: list[int] = []

    def start(module: nn.Module, args: Any) -> None:
        hooks.__enter__()

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        hooks.__exit__()
        own = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers())}
        found.append(sum(size for _, size in {_storage(p.tensor) for p in kept} - own))

    # Around the model, which stays as it is; errors name it by its class.
    watched = type(type(model).__name__, (nn.Sequential,), {})(model)
    watched.register_forward_pre_hook(start)
    # always_call: a forward that fails must not leave the hooks on.
    watched.register_forward_hook(stop, always_call=True)
    workload(watched, shape, **asked)
    return found[-1]


def _pack_into(kept: WeakSet[Packed]) -> Any:
    def pack(tensor: Tensor) -> Packed:
        packed = Packed(tensor)
        kept.add(packed)
        return packed

    return pack


def _storage(tensor: Tensor) -> tuple[int, int]:
    """A storage's address and its bytes."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
