"""Activation memory of a training step from shapes alone, and the part added by each BAM.

Activation memory is that of :func:`bamsearch.profiling.memory.peak_memory` on a CPU, in train mode
with a batch of one in float32: the storages that autograd saves between forward and backward, each
once and whole, without parameters and buffers. Here it is derived on the meta device, where nothing
is computed.

It is additive over BAMs. A BAM saves its input map and its internal maps; the next layer may save
its output map. So a BAM adds its internal maps, its input map unless that is saved without BAM too,
and its output map if that is saved: all three follow from a run without BAM and a run with BAM at
every site. Kernels chosen by device, such as fused attention, may save other tensors than on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import hidden_channels
from bamsearch.errors import ModelError
from bamsearch.graph.base import Base
from bamsearch.graph.tracing.copying import meta_copy
from bamsearch.records import (
    Design,
    Init,
    Insertion,
    ModelSummary,
    Site,
    Variant,
    check_input_shape,
)


def saved_bytes(module: nn.Module, input_shape: Sequence[int]) -> int:
    """Bytes that autograd saves in one training step, for one input in float32.

    Args:
        module: any module that takes one tensor; a copy runs on the meta device.
        input_shape: shape of one input without the batch: (C, H, W) or (C, T, H, W).

    Raises:
        InvalidValueError: an invalid input_shape.
        ModelError: the module does not train with a batch of one of this shape.
    """
    shape = check_input_shape(input_shape)
    return _step(_meta(module), torch.empty(1, *shape, device="meta")).bytes


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
        design equals :func:`saved_bytes` of the rewritten network.

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
    """Tensors that a forward pass in train mode saves for backward.

    Attributes:
        kept: the storages by address of the storage object: meta data has no address.
        maps: input and output map of each watched module.
    """

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


class Packed:
    """A saved tensor, alive as long as autograd needs it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        # Detached: a node's output would otherwise form a reference cycle with the node.
        self.tensor = tensor.detach()


def _step(module: nn.Module, image: Tensor, watched: Sequence[nn.Module] = ()) -> _Step:
    """Run a module on the meta device in train mode."""
    packed: WeakSet[Packed] = WeakSet()
    maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def pack(tensor: Tensor) -> Packed:
        entry = Packed(tensor)
        packed.add(entry)
        return entry

    def note(called: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        maps[called] = (args[0].detach(), output.detach())

    handles = [child.register_forward_hook(note) for child in watched]
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            saved_tensors_hooks(pack, lambda entry: entry.tensor),
        ):
            # The output keeps the saved tensors alive.
            output = module.train()(image)
    except Exception as error:  # A user's forward can raise any exception.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        size = "x".join(map(str, image.shape[1:]))
        raise ModelError(
            f"{type(module).__name__} does not train with a batch of one of {size}: {reason}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    state = {_address(tensor) for tensor in (*module.parameters(), *module.buffers())}
    saved = {_address(entry.tensor): entry.tensor.untyped_storage() for entry in packed}
    del output
    return _Step(
        {address: storage for address, storage in saved.items() if address not in state},
        [maps[child] for child in watched],
    )


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


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
