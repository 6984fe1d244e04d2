"""What is timed: a model and its input on a device, ready to be called without arguments.

The model that is given stays as it is: a copy of it goes to the device.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import nn
from torch.utils import _pytree as pytree

from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.graph.copying import copy_model

# Redundant names: whoever uses a workload finds here what belongs to it.
from bamsearch.profile.conditions import DEFAULTS as DEFAULTS
from bamsearch.profile.conditions import Conditions as Conditions
from bamsearch.profile.conditions import OutOfMemory, complete, memory_fenced
from bamsearch.profile.conditions import caller_kept as caller_kept
from bamsearch.profile.conditions import explained as explained
from bamsearch.profile.devices import device_facts as device_facts
from bamsearch.profile.devices import resolve_device
from bamsearch.records import (
    DeviceFacts,
    DType,
    MemoryFormat,
    Mode,
    check_input_shape,
)

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# torch gives up on compiling a function, silently, after eight variants of it: eight ResNets.
_COMPILED_VARIANTS = 256


@dataclass(frozen=True, slots=True)
class Workload:
    """A call to be timed, and what it depends on.

    Attributes:
        run: the call; on a GPU it returns before the device is done.
        device: where it runs; it must be the current one where there are several.
        facts: what that is.
        input_shape: one input without the batch.
        batch_size: inputs in the call.
        dtype: of weights and input.
        memory_format: of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        train: forward and backward, else forward.
        module: the copy that is called, in train or eval mode.
    """

    run: Callable[[], object]
    device: torch.device
    facts: DeviceFacts
    input_shape: tuple[int, ...]
    batch_size: int
    dtype: DType
    memory_format: MemoryFormat
    mode: Mode
    train: bool
    module: nn.Module

    def move(self) -> None:
        """Put every parameter and buffer elsewhere in the device's memory.

        Two copies of a network differ by up to 4 % in time on a CPU, by nothing but where they
        are: see ``benchmarks/aa_test.py``. Not for a CUDA graph, which has the addresses in it.
        """
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            tensor.data = tensor.data.clone()


def workload(
    model: nn.Module, input_shape: Sequence[int], **conditions: Unpack[Conditions]
) -> Workload:
    """Put a copy of the model and an input on a device, and call it once.

    Args:
        model: any module that takes one tensor. With ``train``, every floating tensor that it
            returns, in whatever tuple or dictionary, takes part in the loss (their sum).
        input_shape: one input without the batch: (C, H, W) or (C, T, H, W).
        conditions: see :class:`~bamsearch.profile.conditions.Conditions`.

    Raises:
        InvalidValueError: an impossible shape or condition.
        DeviceError: no such device, too little memory there (it says which batch fits), a dtype
            that it lacks, or a model that cannot be compiled, captured or trained.
    """
    return workloads([model], input_shape, **conditions)[0]


def workloads(
    models: Sequence[nn.Module], input_shape: Sequence[int], **conditions: Unpack[Conditions]
) -> list[Workload]:
    """The workloads of several models under the same conditions, all of them held at once.

    Args:
        models: as in :func:`workload`.
        input_shape: as there.
        conditions: as there.

    Raises:
        InvalidValueError, DeviceError: as :func:`workload`.
    """
    given = complete(conditions)
    shape = check_input_shape(input_shape)
    try:
        return _prepare(models, shape, given)
    except OutOfMemory as error:
        trouble = str(error)
    # Here the failed attempt's tensors are gone: they hung on the exception.
    if resolve_device(given["device"]).type == "cpu":
        # Looking for it there takes minutes: what fits is not what is quick.
        raise DeviceError(f"{trouble}: give a smaller --batch-size, or --fit-batch")
    _give_memory_back(resolve_device(given["device"]))
    try:
        fits = _largest(models, shape, {**given, "batch_size": max(1, given["batch_size"] // 2)})
    except DeviceError:
        raise DeviceError(f"{trouble}: no smaller batch does, give another --device") from None
    raise DeviceError(
        f"{trouble}; a batch of {fits} does: give --batch-size {fits}, or --fit-batch to take "
        "what fits"
    )


def largest_batch(
    model: nn.Module | Sequence[nn.Module],
    input_shape: Sequence[int],
    **conditions: Unpack[Conditions],
) -> int:
    """The first of batch_size, batch_size/2, batch_size/4, … with which the model runs.

    Args:
        model: a model; or several, to be held at the same time, as when they are timed in pairs.
        input_shape: one input without the batch.
        conditions: see :class:`~bamsearch.profile.conditions.Conditions`; with ``train``, it is
            a step of training that must fit.

    Raises:
        InvalidValueError: an impossible shape or condition.
        DeviceError: a batch of one does not fit either, or the model does not run for another
            reason.
    """
    models = [model] if isinstance(model, nn.Module) else model
    return _largest(models, check_input_shape(input_shape), complete(conditions))


def _prepare(
    models: Sequence[nn.Module], shape: tuple[int, ...], given: Conditions
) -> list[Workload]:
    place = resolve_device(given["device"])
    mode, train, dtype = given["mode"], given["train"], given["dtype"]
    if mode == "cudagraph" and (place.type != "cuda" or train):
        raise DeviceError(
            "mode cudagraph is for inference on a CUDA device: use --mode eager or compile"
        )
    batch_size, memory_format = given["batch_size"], given["memory_format"]
    facts = device_facts(place, given["threads"])
    works = []
    with caller_kept(place, given["threads"]):
        for model in models:
            with (
                explained(type(model).__name__, batch_size, dtype, mode, place),
                memory_fenced() if place.type == "cpu" else nullcontext(),
            ):
                module = _placed(model, place, dtype, memory_format).train(train)
                image = _input((batch_size, *shape), place, dtype, memory_format)
                run = _call(module, image, mode, train)
                run()
                _synchronise(place)
            works.append(
                Workload(
                    run, place, facts, shape, batch_size, dtype, memory_format, mode, train, module
                )
            )
    return works


def _largest(models: Sequence[nn.Module], shape: tuple[int, ...], given: Conditions) -> int:
    batch_size = given["batch_size"]
    while True:
        try:
            _prepare(models, shape, {**given, "batch_size": batch_size})
            return batch_size
        except OutOfMemory as error:
            trouble = str(error)
        _give_memory_back(resolve_device(given["device"]))
        if batch_size == 1:
            raise DeviceError(f"{trouble}: give a smaller input, a shorter dtype or another device")
        batch_size //= 2


def _placed(
    model: nn.Module, device: torch.device, dtype: DType, memory_format: MemoryFormat
) -> nn.Module:
    """A copy of the model as it is timed, without gradients from before."""
    copied = copy_model(model).to(device=device, dtype=getattr(torch, dtype))
    copied.zero_grad(set_to_none=True)
    for tensor in (*copied.parameters(), *copied.buffers()):
        # Not module.to(memory_format=…): it takes one format and fails on the other rank.
        tensor.data = _in_format(tensor.data, memory_format)
    return copied


def _input(
    shape: tuple[int, ...], device: torch.device, dtype: DType, memory_format: MemoryFormat
) -> torch.Tensor:
    # The same numbers on every device, and the caller's random state stays as it is.
    numbers = torch.Generator().manual_seed(0)
    image = torch.randn(shape, generator=numbers).to(device=device, dtype=getattr(torch, dtype))
    return _in_format(image, memory_format)


def _in_format(tensor: torch.Tensor, memory_format: MemoryFormat) -> torch.Tensor:
    if memory_format == "contiguous" or tensor.dim() not in _CHANNELS_LAST:
        return tensor
    return tensor.contiguous(memory_format=_CHANNELS_LAST[tensor.dim()])


def _call(module: nn.Module, image: torch.Tensor, mode: Mode, train: bool) -> Callable[[], object]:
    """The call that is timed."""
    called: Callable[[torch.Tensor], object] = module
    if mode == "compile":
        called = _compiled(module, image, train)

    def forward() -> object:
        with torch.inference_mode():
            return called(image)

    def step() -> object:
        with torch.inference_mode(False), torch.enable_grad():
            loss = _loss(called(image))
            loss.backward()  # type: ignore[no-untyped-call]
            module.zero_grad(set_to_none=True)
            return loss

    if train:
        return step
    return _Captured(forward) if mode == "cudagraph" else forward


def _compiled(module: nn.Module, image: torch.Tensor, train: bool) -> Callable[[torch.Tensor], Any]:
    """The module compiled for this very shape, or an error: never back to eager unsaid."""
    from torch._dynamo import config

    compiled = torch.compile(module, dynamic=False)
    with (
        config.patch(recompile_limit=_COMPILED_VARIANTS, fail_on_recompile_limit_hit=True),
        torch.inference_mode(not train),
    ):
        compiled(image)
    return compiled


class _Captured:
    """Forward as a CUDA graph, warmed up on a side stream as capture wants it.

    The graph only has addresses: forward, and with it model and input, must live as long.
    """

    def __init__(self, forward: Callable[[], object]) -> None:
        self.forward = forward
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            forward()

    def __call__(self) -> None:
        self.graph.replay()


def _loss(output: object) -> torch.Tensor:
    """One number that depends on every tensor of an output."""
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    sums = [tensor.sum().float() for tensor in tensors if tensor.requires_grad]
    if not sums:
        raise InvalidValueError(
            "no output depends on a parameter that learns: time it without --train"
        )
    return torch.stack(sums).sum()


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _give_memory_back(device: torch.device) -> None:
    """Free what a failed attempt held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
