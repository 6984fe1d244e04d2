"""BAM attached to a network: it runs after the module whose output its site is.

The network keeps its class, and its forward runs as it is written: contexts such as
``torch.no_grad``, gradient checkpointing, lists between modules and stored tensors stay. BAM runs
in a forward hook. Sites that are not the output of a module need :mod:`bamsearch.graph.rewrite`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ModelError
from bamsearch.graph.tracing import Trace
from bamsearch.records import Site


class Bams(nn.Module):
    """The BAMs of a network, by their site's name with ``_`` for each dot.

    Called, it returns its input: ``nn.Sequential``, and whatever else runs all its children, runs
    this one too.
    """

    caller_learns = False
    """Whether gradients were on when the network was called; only attaching sets it."""

    def forward(self, x: Any) -> Any:
        """Return x."""
        return x


class NoteGradients:
    """A forward pre-hook of the network: notes whether its caller has gradients on."""

    handle: Any = None

    def __init__(self, bams: Bams) -> None:
        self.bams = bams

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Note it."""
        self.bams.caller_learns = torch.is_grad_enabled()


class RunBam:
    """A forward hook that gives what a module returns to a BAM.

    Where ``forward`` runs the module under ``torch.no_grad``, as frozen stems do, BAM still learns
    when the network's caller has gradients on.

    Args:
        bams: holds the BAM; looked up in each call, so that another module can be put there.
        key: name of the BAM in bams.
    """

    # The handle travels with a pickled hook: torch then numbers later hooks after this one.
    handle: Any = None

    def __init__(self, bams: Bams, key: str) -> None:
        self.bams = bams
        self.key = key

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """The refined output."""
        bam = getattr(self.bams, self.key)
        if torch.is_grad_enabled() or not self.bams.caller_learns:
            plain: Tensor = bam(output)
            return plain
        with torch.enable_grad():
            refined: Tensor = bam(output)
        return refined


def attach(
    part: nn.Module, deep: Trace, names: Sequence[str], chosen: Sequence[Site], bams: Bams
) -> None:
    """Let each BAM run after the module of its site.

    Args:
        part: the feature network; changed.
        deep: its trace.
        names: the sites' names below part.
        chosen: the sites.
        bams: one BAM for each site, in their order.

    Raises:
        ModelError: a site is not the output of a module, or of a module that is called repeatedly.
    """
    modules = [part.get_submodule(path) for path in module_paths(deep, names, chosen)]
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


def module_paths(deep: Trace, names: Sequence[str], chosen: Sequence[Site]) -> list[str]:
    """The modules whose outputs the sites are.

    Raises:
        ModelError: a site is not the output of a module, or of a module that is called repeatedly.
    """
    by_node = deep.site_names()
    calls = {
        call.name: call
        for call in deep.calls
        if call.output is not None and by_node.get(call.output) == call.name
    }
    times = Counter(id(call.module) for call in deep.calls)
    paths = []
    for name, site in zip(names, chosen, strict=True):
        call = calls.get(name)
        if call is None:
            raise ModelError(f"{site.name} is an operation, not the output of a module{_NEXT}")
        if times[id(call.module)] > 1:
            raise ModelError(
                f"{call.path} is called {times[id(call.module)]} times in one forward, and BAM at "
                f"{site.name} would run after each{_NEXT}"
            )
        paths.append(call.path)
    return paths


_NEXT = ": choose other sites, only rewriting can put BAM there"
