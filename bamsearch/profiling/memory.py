"""Peak memory: the allocator's peak on a GPU, tensors saved by autograd on a CPU.

CUDA: ``torch.cuda.max_memory_allocated`` over one call after a warm-up call. This includes weights,
buffers, input, activations, workspaces and, in a training step, gradients: everything allocated by
PyTorch on that device, also before the call (``Memory.already``). It excludes the CUDA context and
allocations of libraries (hundreds of MB, the same for every model), memory reserved by the
allocator but not used, and the optimizer's state (0, 1 or 2 times the parameters for SGD, SGD with
momentum, Adam).

CPU, and MPS, for which torch records no peak: for a training step, the bytes that autograd saves
between forward and backward, which grow with the batch. Inference saves nothing, and torch does
not track the peak of the CPU allocator, so the record has a reason instead of a number.
"""

from __future__ import annotations

import gc
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bamsearch.graph.models import named_module
from bamsearch.profiling.activation_memory import Packed
from bamsearch.profiling.conditions import Conditions, complete, preserve_torch_state
from bamsearch.profiling.devices import device_facts, resolve_device
from bamsearch.profiling.workload import workload
from bamsearch.records import DType, InputShape, Memory, MemoryFormat
from bamsearch.records.arguments import checked

ALLOCATOR = "peak of PyTorch's CUDA allocator"
SAVED = "bytes saved for backward"
NONE = "not measured"


@checked
def peak_memory(
    model: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    device: str = "cpu",
    batch_size: int = 1,
    dtype: DType = "float32",
    memory_format: MemoryFormat = "contiguous",
    train: bool,
) -> Memory:
    """Peak memory of one call of a model, as defined in the module docstring.

    Args:
        model: any module that takes one tensor, of which a copy is measured, or a MODEL.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        batch_size: number of inputs.
        dtype: data type of weights and input.
        memory_format: memory format of weights and input.
        train: forward and backward in train mode, else forward in inference mode.

    Returns:
        Bytes, or None with the reason.

    Raises:
        DeviceError: unknown device, unsupported dtype, or too little memory: on a GPU, the message
            names the largest batch by :func:`bamsearch.profiling.workload.largest_batch`.
        InvalidValueError: an invalid shape or condition.
    """
    _, model, shape = named_module(model, input_shape)
    conditions = complete(
        {
            "device": device,
            "batch_size": batch_size,
            "dtype": dtype,
            "memory_format": memory_format,
            "train": train,
        }
    )
    target = resolve_device(device)
    already, reason = 0, None
    size: int | None = None
    if target.type == "cuda":
        gc.collect()
        method, already = ALLOCATOR, torch.cuda.memory_allocated(target)
        size = _allocated(model, shape, conditions)
    elif train:
        method, size = SAVED, _saved(model, shape, conditions)
    else:
        method = NONE
        reason = f"torch does not record peak memory of {target.type} in inference"
    facts = device_facts(target)
    return Memory(
        size, method, reason, already, shape, batch_size, dtype, memory_format, train, facts
    )


def _allocated(model: nn.Module, shape: tuple[int, ...], conditions: Conditions) -> int:
    """The CUDA allocator's peak over the second call: the first may benchmark algorithms."""
    work = workload(model, shape, **conditions)
    with preserve_torch_state(work.device):
        torch.cuda.reset_peak_memory_stats(work.device)
        work.run()
        torch.cuda.synchronize(work.device)
        return torch.cuda.max_memory_allocated(work.device)


def _saved(model: nn.Module, shape: tuple[int, ...], conditions: Conditions) -> int:
    """Bytes of the storages that autograd saves in a forward pass.

    Storages count once and whole, because a view keeps its whole storage alive. The input counts;
    parameters and buffers do not, because they are allocated anyway.
    """
    saved: WeakSet[Packed] = WeakSet()
    hooks = saved_tensors_hooks(_pack_into(saved), lambda packed: packed.tensor)
    sizes: list[int] = []

    def start(module: nn.Module, args: Any) -> None:
        hooks.__enter__()

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        hooks.__exit__()
        state = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers())}
        sizes.append(sum(size for _, size in {_storage(p.tensor) for p in saved} - state))

    # A wrapper leaves the model unchanged; it has the model's class name for error messages.
    watched = type(type(model).__name__, (nn.Sequential,), {})(model)
    watched.register_forward_pre_hook(start)
    # always_call: removes the hooks also if forward fails.
    watched.register_forward_hook(stop, always_call=True)
    workload(watched, shape, **conditions)
    return sizes[-1]


def _pack_into(saved: WeakSet[Packed]) -> Any:
    def pack(tensor: Tensor) -> Packed:
        packed = Packed(tensor)
        saved.add(packed)
        return packed

    return pack


def _storage(tensor: Tensor) -> tuple[int, int]:
    """Address and size in bytes of a tensor's storage."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
