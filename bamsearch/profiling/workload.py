"""Workloads: a copy of a model and its input on a device, ready to be called, timed or traced."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils import _pytree as pytree

from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.files import written
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.profiling.conditions import (
    Conditions,
    OutOfMemory,
    as_device_error,
    complete,
    limit_address_space,
    preserve_torch_state,
)
from bamsearch.profiling.devices import device_facts, resolve_device
from bamsearch.records import DeviceFacts, MemoryFormat, check_input_shape

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# By default torch silently stops compiling a function after eight variants: eight ResNets.
_COMPILED_VARIANTS = 256


@dataclass(frozen=True, slots=True)
class Workload:
    """A call to time, and its conditions.

    Attributes:
        run: the call; on a GPU it returns before the device has finished.
        module: the copy that is called, in train or eval mode.
        device: device of the call, which must be the current one.
        facts: facts about the device.
        input_shape: shape of one input without the batch.
        conditions: all conditions of the call.
    """

    run: Callable[[], object]
    module: nn.Module
    device: torch.device
    facts: DeviceFacts
    input_shape: tuple[int, ...]
    conditions: Conditions

    def move(self) -> None:
        """Move all parameters and buffers to other addresses in the device's memory.

        On a CPU, the latencies of two copies of a network differ by up to 4% because of their
        addresses alone: see ``benchmarks/aa_test.py``. Not for CUDA graphs, which fix addresses.
        """
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            tensor.data = tensor.data.clone()


def workloads(
    models: Sequence[nn.Module], input_shape: Sequence[int], **conditions: Unpack[Conditions]
) -> list[Workload]:
    """Put copies of models and an input on a device, all at once, and call each once.

    Args:
        models: modules that take one tensor. With ``train``, the loss is the sum of all
            floating-point tensors in the output, also in tuples or dictionaries.
        input_shape: shape of one input without the batch: (C, H, W) or (C, T, H, W).
        conditions: see :class:`~bamsearch.profiling.conditions.Conditions`.

    Raises:
        InvalidValueError: an invalid shape or condition.
        DeviceError: unknown device, too little memory (the message names a batch that fits),
            unsupported dtype, or a model that cannot be compiled, captured or trained.
    """
    completed = complete(conditions)
    shape = check_input_shape(input_shape)
    try:
        return _prepare(models, shape, completed)
    except OutOfMemory as error:
        trouble = str(error)
    # The exception is gone, and with it the failed attempt's tensors.
    if resolve_device(completed["device"]).type == "cpu":
        # A search on a CPU would take minutes: large batches are slow there.
        raise DeviceError(f"{trouble}: use a smaller `batch_size`, or `fit_batch`")
    _free_memory(resolve_device(completed["device"]))
    half = max(1, completed["batch_size"] // 2)
    try:
        fits = _largest(models, shape, {**completed, "batch_size": half})
    except DeviceError:
        raise DeviceError(f"{trouble}, nor does a smaller batch: use another `device`") from None
    raise DeviceError(
        f"{trouble}, but a batch of {fits} does: use `batch_size={fits}`, or `fit_batch` to "
        "choose it automatically"
    )


def largest_batch(
    models: Sequence[nn.Module], input_shape: Sequence[int], **conditions: Unpack[Conditions]
) -> int:
    """The first of batch_size, batch_size/2, batch_size/4, … that fits into memory.

    Args:
        models: models that must fit at the same time, as for timing in pairs.
        input_shape: shape of one input without the batch.
        conditions: see :class:`~bamsearch.profiling.conditions.Conditions`; with ``train``, a
            training step must fit.

    Raises:
        InvalidValueError: an invalid shape or condition.
        DeviceError: not even a batch of one fits, or the model fails for another reason.
    """
    return _largest(models, check_input_shape(input_shape), complete(conditions))


def write_trace(work: Workload, path: Path) -> None:
    """Trace five calls with torch.profiler, after a warm-up call, for chrome://tracing or Perfetto.

    Raises:
        OutputError: the file cannot be written.
    """
    activities = [ProfilerActivity.CPU]
    if work.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    work.run()
    # Without acc_events torch 2.11 warns that it discards earlier cycles; there is only one.
    with profile(
        activities=activities, record_shapes=True, profile_memory=True, acc_events=True
    ) as traced:
        for call in range(5):
            with record_function(f"call {call}"):
                work.run()
    with written(path, "", RuntimeError):
        # torch.profiler ignores write errors: check first.
        path.touch()
        traced.export_chrome_trace(str(path))


def _prepare(
    models: Sequence[nn.Module], shape: tuple[int, ...], conditions: Conditions
) -> list[Workload]:
    device = resolve_device(conditions["device"])
    train = conditions["train"]
    if conditions["mode"] == "cudagraph" and (device.type != "cuda" or train):
        raise DeviceError(
            "mode cudagraph supports only inference on a CUDA device: use `mode=eager` or compile"
        )
    facts = device_facts(device, conditions["threads"])
    works = []
    with preserve_torch_state(device, conditions["threads"]):
        for model in models:
            with (
                as_device_error(type(model).__name__, device, conditions),
                limit_address_space() if device.type == "cpu" else nullcontext(),
            ):
                module = _prepared_copy(model, device, conditions).train(train)
                run = _call(module, _input(shape, device, conditions), conditions)
                run()
                if device.type != "cpu":
                    getattr(torch, device.type).synchronize()
            works.append(Workload(run, module, device, facts, shape, conditions))
    return works


def _largest(models: Sequence[nn.Module], shape: tuple[int, ...], conditions: Conditions) -> int:
    batch_size = conditions["batch_size"]
    while True:
        try:
            _prepare(models, shape, {**conditions, "batch_size": batch_size})
            return batch_size
        except OutOfMemory as error:
            trouble = str(error)
        _free_memory(resolve_device(conditions["device"]))
        if batch_size == 1:
            raise DeviceError(f"{trouble}: use a smaller input, a smaller dtype or another device")
        batch_size //= 2


def _prepared_copy(model: nn.Module, device: torch.device, conditions: Conditions) -> nn.Module:
    """A copy of the model with device, dtype and memory format set, without gradients."""
    copied = copy_model(model).to(device=device, dtype=getattr(torch, conditions["dtype"]))
    copied.zero_grad(set_to_none=True)
    for tensor in (*copied.parameters(), *copied.buffers()):
        # Not module.to(memory_format=…), which takes one format and fails on the other rank.
        tensor.data = _in_format(tensor.data, conditions["memory_format"])
    return copied


def _input(shape: tuple[int, ...], device: torch.device, conditions: Conditions) -> torch.Tensor:
    # A CPU generator: the same numbers on every device, and the caller's random state is preserved.
    numbers = torch.Generator().manual_seed(0)
    image = torch.randn(conditions["batch_size"], *shape, generator=numbers)
    image = image.to(device=device, dtype=getattr(torch, conditions["dtype"]))
    return _in_format(image, conditions["memory_format"])


def _in_format(tensor: torch.Tensor, memory_format: MemoryFormat) -> torch.Tensor:
    if memory_format == "contiguous" or tensor.dim() not in _CHANNELS_LAST:
        return tensor
    return tensor.contiguous(memory_format=_CHANNELS_LAST[tensor.dim()])


def _call(module: nn.Module, image: torch.Tensor, conditions: Conditions) -> Callable[[], object]:
    """The call that is timed."""
    mode, train = conditions["mode"], conditions["train"]
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
    """Compile the module for this shape; raise an error instead of falling back to eager."""
    from torch._dynamo import config

    compiled = torch.compile(module, dynamic=False)
    with (
        config.patch(recompile_limit=_COMPILED_VARIANTS, fail_on_recompile_limit_hit=True),
        torch.inference_mode(not train),
    ):
        compiled(image)
    return compiled


class _Captured:
    """Forward as a CUDA graph, warmed up on a side stream as capture requires.

    The graph stores only addresses, so forward, with model and input, must outlive it.
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
    """A scalar that depends on every tensor of an output."""
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    sums = [tensor.sum().float() for tensor in tensors if tensor.requires_grad]
    if not sums:
        raise InvalidValueError(
            "no output depends on a trainable parameter: time it without `train`"
        )
    return torch.stack(sums).sum()


def _free_memory(device: torch.device) -> None:
    """Free the memory of a failed attempt."""
    gc.collect()
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()
