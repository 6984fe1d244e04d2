"""Attach BAM with forward hooks on the modules whose outputs are the sites.

The network keeps its class and its forward: contexts such as ``torch.no_grad``, gradient
checkpointing, lists passed between modules and stored tensors are preserved. Sites that are not
the output of a module need :mod:`bamsearch.graph.rewrite`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.errors import ModelError
from bamsearch.graph.tracing.tracer import Trace
from bamsearch.records import Design, Site


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
    """Run each BAM after the module of its site.

    Args:
        part: the feature network; modified.
        deep: its trace.
        names: names of the sites relative to part.
        chosen: the sites.
        bams: one BAM per site, in the same order.

    Raises:
        ModelError: a site is not a module's output, or its module is called more than once.
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
    """Paths of the modules whose outputs are the sites.

    Raises:
        ModelError: a site is not a module's output, or its module is called more than once.
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


_NEXT = ": choose another site, or insert BAM by rewriting"
