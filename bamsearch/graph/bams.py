"""Create, initialise, attach and freeze the BAMs of a network.

Attached BAMs run in forward hooks of the modules whose outputs are the sites. The network keeps its
class and its forward: contexts such as ``torch.no_grad``, gradient checkpointing, lists passed
between modules and stored tensors are preserved. Sites that are not the output of a module need
:mod:`bamsearch.graph.rewrite`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM, bams_of
from bamsearch.attention.cost import hidden_channels
from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.tracing.tracer import Trace
from bamsearch.records import Design, Site
from bamsearch.records.arguments import checked


@checked
def bam_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of every BAM in a model, for an optimizer's parameter group."""
    return chain.from_iterable(bam.parameters() for bam in bams_of(model).values())


@checked
def freeze_bam_bn(model: nn.Module) -> nn.Module:
    """Keep the batch norms of every BAM in eval mode, for batches too small to normalise by.

    The norms then use their running statistics, which no longer change, even after
    ``model.train()``; their weights and biases are still trained. A new BAM has a running mean of
    0 and a variance of 1. ``nn.SyncBatchNorm.convert_sync_batchnorm`` may be applied before or
    after. The ``state_dict`` does not record freezing: call this again after loading.

    Args:
        model: a network with BAM; modified in place.

    Returns:
        The same network.
    """
    for bam in bams_of(model).values():
        bam.norms_frozen = True
        bam.train(bam.training)
    return model


def refuse_bam(model: nn.Module) -> None:
    """Raise ModelError if the model contains a BAM."""
    for path in bams_of(model):
        raise ModelError(
            f"{type(model).__name__} already has BAM at {path}: insert into the network without it"
        )


class Bams(nn.Module):
    """Container for the BAMs of a network, named after their sites with ``_`` for each dot.

    Calling it returns the input, because ``nn.Sequential`` and similar containers run all their
    children, including this one.
    """

    caller_learns = False
    """Whether gradients were enabled when the network was called; set by :class:`NoteGradients`."""

    design: Design | None = None
    """The design that was inserted."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


def make_bams(part: nn.Module, chosen: Sequence[Site], design: Design) -> Bams:
    """Create BAMs for the chosen sites, with the device, dtype and mode of part."""
    if hasattr(part, "bam"):
        raise ModelError(f"{type(part).__name__} already has an attribute 'bam': rename it")
    like = next((p for p in part.parameters() if p.is_floating_point()), None)
    bams = Bams()  # not a ModuleDict: a site may be called `keys` or `values`
    bams.design = design
    for site, insertion in zip(chosen, design.insertions, strict=True):
        key = key_of(site)
        if hasattr(bams, key):
            raise InvalidValueError(f"{site.name} and another site would both be named bam.{key}")
        bam = BAM(
            site.channels,
            insertion.reduction,
            insertion.dilation,
            variant=design.variant,
            init=design.init,
            layout=site.layout,
        )
        bams.add_module(key, bam)
    if like is not None:
        bams.to(like.device, like.dtype)
    return bams.train(part.training)


def key_of(site: Site) -> str:
    """Attribute name of a site's BAM in :class:`Bams`."""
    return site.name.replace(".", "_")


def initialise_bams(network: nn.Module, design: Design, seed: int) -> None:
    """Initialise each BAM from the seed, its site and its hidden width only.

    Designs that share a site thus share its initial weights, whatever the dilation, the other BAMs
    and the device, so that differences between results come from the designs.
    """
    with fork_rng():
        for insertion, bam in zip(design.insertions, bams_of(network).values(), strict=True):
            width = hidden_channels(bam.channels, bam.reduction)
            key = f"{seed} {insertion.site} {width}".encode(errors="surrogatepass")
            torch.default_generator.manual_seed(zlib.crc32(key))
            fresh = BAM(
                bam.channels,
                bam.reduction,
                bam.dilation,
                variant=bam.variant,
                init=bam.init,
                layout=bam.layout,
            )
            bam.load_state_dict(fresh.state_dict())


@contextmanager
def fork_rng(seed: int | None = None) -> Iterator[None]:
    """Preserve the CPU's random state, seeded in the block if a seed is given.

    Inference mode is left, so that new weights are trainable.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


class NoteGradients:
    """Forward pre-hook of the network: records whether its caller has gradients enabled."""

    handle: Any = None

    def __init__(self, bams: Bams) -> None:
        self.bams = bams

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Store ``torch.is_grad_enabled()``."""
        self.bams.caller_learns = torch.is_grad_enabled()


class RunBam:
    """Forward hook that passes a module's output through a BAM.

    Where ``forward`` runs the module under ``torch.no_grad``, as frozen stems do, BAM still learns
    if the network's caller has gradients enabled.

    Args:
        bams: container of the BAM, which is looked up on each call so that it can be replaced.
        key: name of the BAM in bams.
    """

    # The handle travels with a pickled hook: torch then numbers later hooks after this one.
    handle: Any = None

    def __init__(self, bams: Bams, key: str) -> None:
        self.bams = bams
        self.key = key

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Return the refined output."""
        bam: BAM = getattr(self.bams, self.key)
        if torch.is_grad_enabled() or not self.bams.caller_learns:
            refined: Tensor = bam(output)
        else:
            with torch.enable_grad():
                refined = bam(output)
        return refined


def attach(
    part: nn.Module, deep: Trace, names: Sequence[str], chosen: Sequence[Site], bams: Bams
) -> None:
    """Run each BAM after the module of its site."""
    site_names = deep.site_names()
    calls = {
        call.name: call
        for call in deep.calls
        if call.output is not None and site_names.get(call.output) == call.name
    }
    times = Counter(id(call.module) for call in deep.calls)
    other_way = ": choose another site, or insert BAM by rewriting"
    modules = []
    for name, site in zip(names, chosen, strict=True):
        if name not in calls:
            raise ModelError(f"{site.name} is an operation, not the output of a module{other_way}")
        path, count = calls[name].path, times[id(calls[name].module)]
        if count > 1:
            raise ModelError(
                f"{path} is called {count} times in one forward, and BAM at {site.name} would run "
                f"after each{other_way}"
            )
        modules.append(part.get_submodule(path))
    part.add_module("bam", bams)
    for module, key in zip(modules, list(bams._modules), strict=True):
        hook = RunBam(bams, key)
        hook.handle = module.register_forward_hook(hook)
    note = NoteGradients(bams)
    note.handle = part.register_forward_pre_hook(note)


def is_attached(network: nn.Module) -> bool:
    """Whether a BAM is attached anywhere in a network."""
    hooks = (hook for module in network.modules() for hook in module._forward_hooks.values())
    return any(isinstance(hook, RunBam) for hook in hooks)
