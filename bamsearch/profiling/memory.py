"""Memory: the peak of a call on a device, and activation memory from shapes alone.

:func:`peak_memory` measures. On CUDA it is ``torch.cuda.max_memory_allocated`` over one call after
a warm-up call. This includes weights, buffers, input, activations, workspaces and, in a training
step, gradients: everything allocated by PyTorch on that device, also before the call
(``Memory.already``). It excludes the CUDA context and allocations of libraries (hundreds of MB, the
same for every model), memory reserved by the allocator but not used, and the optimizer's state (0,
1 or 2 times the parameters for SGD, SGD with momentum, Adam).

On a CPU, and MPS, for which torch records no peak, it is the activation memory of a training step:
the storages that autograd saves between forward and backward, each once and whole (a view keeps its
whole storage alive), without parameters and buffers, which are allocated anyway. It grows with the
batch. Inference saves nothing, and torch does not track the peak of the CPU allocator, so the
record has a reason instead of a number.

:func:`bam_memory` derives the same activation memory, for a batch of one in float32, on the meta
device, where nothing is computed, and the part added by each BAM. It is additive over BAMs. A BAM
saves its input map and its internal maps; the next layer may save its output map. So a BAM adds its
internal maps, its input map unless that is saved without BAM too, and its output map if that is
saved: all three follow from a run without BAM and a run with BAM at every site. Kernels chosen by
device, such as fused attention, may save other tensors than on a CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import hidden_channels
from bamsearch.errors import ModelError, first_line
from bamsearch.graph.base import Base
from bamsearch.graph.models import named_module
from bamsearch.graph.tracing.copying import meta_copy
from bamsearch.profiling.conditions import Conditions, complete, preserve_torch_state
from bamsearch.profiling.devices import device_facts, resolve_device
from bamsearch.profiling.workload import workloads
from bamsearch.records import (
    Design,
    DType,
    Init,
    InputShape,
    Insertion,
    Memory,
    MemoryFormat,
    ModelSummary,
    Site,
    Variant,
)
from bamsearch.records.arguments import checked
from bamsearch.text import size_text

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
            names the largest batch that fits.
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
    [work] = workloads([model], shape, **conditions)
    with preserve_torch_state(work.device):
        torch.cuda.reset_peak_memory_stats(work.device)
        work.run()
        torch.cuda.synchronize(work.device)
        return torch.cuda.max_memory_allocated(work.device)


def _saved(model: nn.Module, shape: tuple[int, ...], conditions: Conditions) -> int:
    """Bytes of the storages that autograd saves in a forward pass; the input counts."""
    sizes: list[int] = []

    class Watched(nn.Module):
        """Leaves the model unchanged, unlike hooks on it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Any:
            with _saved_tensors() as saved:
                output = self.model(image)
            sizes.append(sum(s.nbytes() for s in _storages(saved, self).values()))
            return output

    Watched.__name__ = type(model).__name__  # for error messages
    workloads([Watched()], shape, **conditions)
    return sizes[-1]


class _Packed:
    """A saved tensor, alive as long as autograd needs it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        # Detached: a node's output would otherwise form a reference cycle with the node.
        self.tensor = tensor.detach()


@contextmanager
def _saved_tensors() -> Iterator[WeakSet[_Packed]]:
    """Collect the tensors that autograd saves in the block, as long as it needs them."""
    packed: WeakSet[_Packed] = WeakSet()

    def pack(tensor: Tensor) -> _Packed:
        entry = _Packed(tensor)
        packed.add(entry)
        return entry

    with saved_tensors_hooks(pack, lambda entry: entry.tensor):
        yield packed


def _storages(saved: Iterable[_Packed], module: nn.Module) -> dict[int, torch.UntypedStorage]:
    """Storages of saved tensors by their address, without a module's parameters and buffers."""
    state = {_address(tensor) for tensor in (*module.parameters(), *module.buffers())}
    storages = {_address(entry.tensor): entry.tensor.untyped_storage() for entry in saved}
    return {address: storages[address] for address in storages.keys() - state}


def _address(tensor: Tensor) -> int:
    """Address of the storage object: data on the meta device have no address."""
    address: int = tensor.untyped_storage()._cdata
    return address


def bam_memory(
    module: nn.Module,
    summary: ModelSummary,
    reductions: Mapping[str, Iterable[int]],
    *,
    variant: Variant = "paper",
    init: Init = "paper",
) -> tuple[int, dict[tuple[str, int], int]]:
    """Activation memory of the base in a training step, and that added by each BAM.

    The added memory does not depend on the dilation.

    Args:
        module: the model, without BAM.
        summary: summary of the model; for a detector, only its timed part counts.
        reductions: values of r by name of the site, at least one each.
        variant: ``paper`` or ``official``.
        init: ``paper`` or ``identity``.

    Returns:
        Bytes of the base, and bytes added by a BAM by name of the site and r. Their sum for a
        design equals the bytes of the rewritten network.

    Raises:
        ModelError: the model does not train with a batch of one, or sums would not be exact.
    """
    part = _meta(module.get_submodule(summary.part))
    if not all(p.requires_grad for p in part.parameters() if p.is_floating_point()):
        raise ModelError(
            f"{summary.model} has frozen parameters, so the memory added by a BAM depends on other "
            "BAMs: unfreeze them, or set another budget"
        )
    requested = {
        site: tuple(reductions[site.name]) for site in summary.sites if site.name in reductions
    }
    image = torch.empty(1, *summary.part_input, device="meta")
    if not requested:
        return _step(part, image).bytes, {}
    firsts = {site: values[0] for site, values in requested.items()}
    without, full = _without_and_with(part, summary, firsts, image, variant, init)
    added: dict[tuple[str, int], int] = {}
    internal: dict[tuple[object, ...], int] = {}
    for (site, values), (before, _), (_, after) in zip(
        requested.items(), without.maps, full.maps, strict=True
    ):
        around = before.untyped_storage().nbytes() - without.kept_of(before) + full.kept_of(after)
        for reduction in values:
            hidden = hidden_channels(site.channels, reduction)
            key = (site.layout, before.shape, before.stride(), hidden)
            if key not in internal:
                # The meta device draws no random numbers.
                with torch.device("meta"):
                    bam = BAM(
                        site.channels, reduction, variant=variant, init=init, layout=site.layout
                    )
                internal[key] = _internal_bytes(bam, before)
            added[site.name, reduction] = around + internal[key]
    _check_apart(list(firsts), full)
    total = without.bytes + sum(added[site.name, first] for site, first in firsts.items())
    if total != full.bytes:
        raise ModelError(
            f"memory of {summary.model} with BAM at all sites is {full.bytes} bytes, but the sum "
            f"over its BAMs is {total}: set another budget"
        )
    return without.bytes, added


@dataclass(slots=True)
class _Step:
    """Storages that a training step saves, and input and output map of each watched module."""

    kept: dict[int, torch.UntypedStorage] = field(default_factory=dict)
    maps: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Total size of the saved storages."""
        return sum(storage.nbytes() for storage in self.kept.values())

    def kept_of(self, tensor: Tensor) -> int:
        """Size of a tensor's storage if it is saved, else 0."""
        storage = self.kept.get(_address(tensor))
        return storage.nbytes() if storage is not None else 0


def _step(module: nn.Module, image: Tensor, watched: Sequence[nn.Module] = ()) -> _Step:
    """Run a module on the meta device in train mode."""
    maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def note(called: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        maps[called] = (args[0].detach(), output.detach())

    handles = [child.register_forward_hook(note) for child in watched]
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            _saved_tensors() as saved,
        ):
            # The output keeps the saved tensors alive.
            output = module.train()(image)
    except Exception as error:  # A user's forward can raise any exception.
        size = size_text(image.shape[1:])
        raise ModelError(
            f"{type(module).__name__} does not train with a batch of one of {size}: "
            f"{first_line(error).rstrip('.')}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    storages = _storages(saved, module)
    del output
    return _Step(storages, [maps[child] for child in watched])


def _without_and_with(
    part: nn.Module,
    summary: ModelSummary,
    reductions: Mapping[Site, int],
    image: Tensor,
    variant: Variant,
    init: Init,
) -> tuple[_Step, _Step]:
    """Run the part without BAM, and with BAM at each site."""
    prefix = f"{summary.part}." if summary.part else ""
    sites = [replace(site, name=site.name.removeprefix(prefix)) for site in reductions]
    insertions = [
        Insertion(site.name, reduction)
        for site, reduction in zip(sites, reductions.values(), strict=True)
    ]
    design = Design(
        summary.model, summary.part_input, tuple(insertions), variant, init, how=summary.how
    )
    with torch.random.fork_rng(devices=[]):
        base = Base(part, summary.part_input, known_sites=tuple(sites))
        rewritten = base.insert(design).module
    bams = rewritten.get_submodule("bam")
    full = _step(rewritten, image, list(bams.children()))
    for name, _ in list(bams.named_children()):
        bams.add_module(name, nn.Identity())
    return _step(rewritten, image, list(bams.children())), full


def _check_apart(sites: Sequence[Site], full: _Step) -> None:
    """Raise ModelError if the output map of a BAM is, or shares storage with, another's input."""
    after = {_address(returned): site for site, (_, returned) in zip(sites, full.maps, strict=True)}
    for site, (before, _) in zip(sites, full.maps, strict=True):
        other = after.get(_address(before))
        if other is not None:
            raise ModelError(
                f"BAMs at {other.name} and {site.name} share a map, so their memory is not "
                "additive: leave one of them out, or set another budget"
            )


def _internal_bytes(bam: BAM, like: Tensor) -> int:
    """Bytes that a BAM saves besides its input map."""
    image = torch.empty_strided(like.shape, like.stride(), device="meta", requires_grad=True)
    step = _step(bam, image)
    return step.bytes - step.kept_of(image)


def _meta(module: nn.Module) -> nn.Module:
    """A copy on the meta device and in float32."""
    return meta_copy(module).to(torch.float32)
