"""Bytes that autograd keeps for one training step, from shapes alone, and what each BAM adds.

The number is that of :func:`bamsearch.profile.memory.peak_memory` on a CPU, in train mode with a
batch of one in float32: storages that are kept between forward and backward, each once and whole,
without parameters and buffers. Here it is worked out on the meta device, where nothing is computed.

It is a sum over BAMs. A BAM keeps the map that it is given and maps of its own; whatever comes
next may keep the map that it returns. So what it adds to a network is its own maps, the map before
it unless that is kept without BAM too, and the map after it if that is kept: all three known from
one run without BAM and one with BAM at every site. Kernels that are chosen by device can keep other
things than on a CPU, as fused attention does.
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
from bamsearch.graph.copying import meta_copy
from bamsearch.graph.insertion import insert
from bamsearch.graph.network import find_network
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
    """Bytes that autograd keeps for one training step, with one input and in float32.

    Args:
        module: any module that takes one tensor; a copy on the meta device is run.
        input_shape: one input without the batch: (C, H, W) or (C, T, H, W).

    Raises:
        InvalidValueError: an impossible input_shape.
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
    """What the base keeps for a training step, and what every BAM adds to it, at any dilation.

    Args:
        module: the model, without BAM.
        summary: of the model; of a detector, its part is looked at.
        reductions: name of a site, and the values of r there, at least one.
        variant: which BAM.
        init: how it starts.

    Returns:
        Bytes of the base; by site's name and r, the bytes that BAM adds there. A design's bytes
        are their sum, equal to :func:`saved_bytes` of the rewritten network.

    Raises:
        ModelError: the model does not train with a batch of one, or sums would not be exact.
    """
    part = _meta(module.get_submodule(summary.part))
    if not all(p.requires_grad for p in part.parameters() if p.is_floating_point()):
        raise ModelError(
            f"{summary.model} has frozen parameters: what a BAM adds to the memory then depends on "
            "other BAMs. Unfreeze them, or limit something else"
        )
    asked = {
        site: tuple(reductions[site.name]) for site in summary.sites if site.name in reductions
    }
    image = torch.empty(1, *summary.part_input, device="meta")
    if not asked:
        return _step(part, image).bytes, {}
    firsts = {site: values[0] for site, values in asked.items()}
    without, full = _without_and_with(part, summary, firsts, image, variant, init)
    added: dict[tuple[str, int], int] = {}
    own: dict[tuple[object, ...], int] = {}
    for (site, values), (before, _), (_, after) in zip(
        asked.items(), without.maps, full.maps, strict=True
    ):
        around = before.untyped_storage().nbytes() - without.kept_of(before) + full.kept_of(after)
        for reduction in values:
            hidden = hidden_channels(site.channels, reduction)
            key = (site.layout, before.shape, before.stride(), hidden)
            if key not in own:
                # On the meta device, where no random number is drawn.
                with torch.device("meta"):
                    bam = BAM(
                        site.channels, reduction, variant=variant, init=init, layout=site.layout
                    )
                own[key] = _own_bytes(bam, before)
            added[site.name, reduction] = around + own[key]
    _check_apart(list(firsts), full)
    total = without.bytes + sum(added[site.name, first] for site, first in firsts.items())
    if total != full.bytes:
        raise ModelError(
            f"memory of {summary.model} with BAM everywhere is {full.bytes} bytes, and {total} as "
            "a sum over its BAMs: limit something else"
        )
    return without.bytes, added


@dataclass(slots=True)
class _Step:
    """What a forward pass in train mode keeps for backward.

    Attributes:
        kept: the storages, by their address as an object: on the meta device data has none.
        maps: of each watched module, the map given and the map returned.
    """

    kept: dict[int, torch.UntypedStorage] = field(default_factory=dict)
    maps: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """All that is kept."""
        return sum(storage.nbytes() for storage in self.kept.values())

    def kept_of(self, tensor: Tensor) -> int:
        """Bytes that are kept of a tensor's storage: all or none."""
        storage = self.kept.get(_address(tensor))
        return storage.nbytes() if storage is not None else 0


class Packed:
    """A tensor that autograd keeps, for as long as it keeps it."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        # Detached: an output of the node that keeps it would hold the node, and the node it.
        self.tensor = tensor.detach()


def _step(module: nn.Module, image: Tensor, watched: Sequence[nn.Module] = ()) -> _Step:
    """Run a module on the meta device in train mode."""
    packed: WeakSet[Packed] = WeakSet()
    maps: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def pack(tensor: Tensor) -> Packed:
        one = Packed(tensor)
        packed.add(one)
        return one

    def note(called: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        maps[called] = (args[0].detach(), output.detach())

    handles = [one.register_forward_hook(note) for one in watched]
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.random.fork_rng(devices=[]),
            saved_tensors_hooks(pack, lambda one: one.tensor),
        ):
            # Kept until the end: it holds what backward needs.
            output = module.train()(image)
    except Exception as error:  # A user's forward can raise anything at all.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        size = "x".join(map(str, image.shape[1:]))
        raise ModelError(
            f"{type(module).__name__} does not train with a batch of one of {size}: {reason}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    own = {_address(tensor) for tensor in (*module.parameters(), *module.buffers())}
    kept = {_address(one.tensor): one.tensor.untyped_storage() for one in packed}
    del output
    return _Step(
        {address: storage for address, storage in kept.items() if address not in own},
        [maps[one] for one in watched],
    )


def _without_and_with(
    part: nn.Module,
    summary: ModelSummary,
    reductions: Mapping[Site, int],
    image: Tensor,
    variant: Variant,
    init: Init,
) -> tuple[_Step, _Step]:
    """The part with nothing at its sites, and with BAM at each."""
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
        rewritten = insert(part, find_network(part, summary.part_input), sites, design)
    bams = rewritten.get_submodule("bam")
    full = _step(rewritten, image, list(bams.children()))
    for name, _ in list(bams.named_children()):
        bams.add_module(name, nn.Identity())
    return _step(rewritten, image, list(bams.children())), full


def _check_apart(sites: Sequence[Site], full: _Step) -> None:
    """Raise ModelError where the map after one BAM is the map before another, or a view of it."""
    after = {_address(returned): site for site, (_, returned) in zip(sites, full.maps, strict=True)}
    for site, (given, _) in zip(sites, full.maps, strict=True):
        other = after.get(_address(given))
        if other is not None:
            raise ModelError(
                f"BAM at {other.name} and at {site.name} share a map, so that their memory does "
                "not add up: leave one of them out, or limit something else"
            )


def _own_bytes(bam: BAM, given: Tensor) -> int:
    """What a BAM keeps, less the map that it is given."""
    like = torch.empty_strided(given.shape, given.stride(), device="meta", requires_grad=True)
    step = _step(bam, like)
    return step.bytes - step.kept_of(like)


def _meta(module: nn.Module) -> nn.Module:
    """A copy on the meta device and in float32."""
    return meta_copy(module).to(torch.float32)


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address
