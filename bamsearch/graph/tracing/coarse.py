"""The coarse trace, only through the modules that contain a site, in both modes.

Modules that tracing would damage (lost hooks, frozen random numbers) are refused by name.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from bamsearch.errors import ModelError
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.graph.tracing.tracer import Trace, mode, trace
from bamsearch.records import Site


def opened_by(names: Sequence[str]) -> frozenset[str]:
    """Paths of the modules to trace through: all that contain a site, including the root."""
    return frozenset(
        ".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)
    )


def refuse_unsafe(part: nn.Module, opened: frozenset[str]) -> None:
    """Refuse modules with hooks or parametrizations, which tracing would drop silently."""
    for path, module in part.named_modules():
        if path not in opened:
            continue
        hooks = (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        )
        feature = "hooks" if hooks else "parametrizations"
        if hooks or parametrize.is_parametrized(module):
            raise ModelError(
                f"{path or type(module).__name__} has {feature}, which tracing would drop: "
                "remove them, insert BAM, and put them back"
            )


def trace_coarsely(part: nn.Module, names: Sequence[str], *, training: bool) -> Trace:
    """The coarse trace of part in one mode; part is not modified."""
    before = _random_states()
    scratch = _scratch(part)
    with mode(scratch, training=training):
        coarse = trace(scratch, opened_by(names))
    if _random_states() != before:
        raise ModelError(
            f"{type(part).__name__} draws random numbers in Python, outside any layer, and "
            "tracing would freeze them to constants. Move that into a separate module"
        )
    return coarse


def modules_bound_to_root(
    part: nn.Module, names: Sequence[str], train_code: str, eval_code: str
) -> tuple[str, ...]:
    """The traced modules whose mode changes the graph, so that it must equal the root's."""
    if train_code == eval_code:
        return ()
    opened = opened_by(names)
    bound = []
    for path in sorted(opened - {""}):
        scratch = _scratch(part).train()
        scratch.get_submodule(path).training = False
        try:
            same = code_of(trace(scratch, opened).graph) == train_code
        except ModelError:
            same = False
        if not same:
            bound.append(path)
    return tuple(bound)


def adopt_constants(part: nn.Module, coarse: Trace) -> None:
    """Store tensors that the traced forward created in part, under unused names."""
    for node in coarse.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name.startswith("_tensor_constant"):
            number = 0
            while hasattr(part, free := f"_tensor_constant{number}"):
                number += 1
            setattr(part, free, getattr(coarse.root, name))
            node.target = free


def check_same_in_both(
    chosen: Sequence[Site], names: Sequence[str], in_train: Trace, in_eval: Trace
) -> None:
    """Check that each site exists in both modes, with equal call counts, which are in the name."""
    numbers = re.compile(r"[@_]\d+$")
    for site, name in zip(chosen, names, strict=True):
        reached = {"train": in_train.site_names().values(), "eval": in_eval.site_names().values()}
        for mode_name, site_names in reached.items():
            if name not in site_names:
                raise ModelError(
                    f"{site.name} is not reached in {mode_name} mode: choose another site"
                )
        stem = numbers.sub("", name)
        train_count, eval_count = (
            sum(numbers.sub("", other) == stem for other in site_names)
            for site_names in reached.values()
        )
        if train_count != eval_count:
            raise ModelError(
                f"{site.name} is ambiguous: {stem} runs {train_count} times in train mode and "
                f"{eval_count} times in eval mode: choose another site"
            )


def _scratch(part: nn.Module) -> nn.Module:
    """A copy to trace that shares its tensors with part; forward stores attributes on the copy."""
    shared = {id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())}
    return copy_model(part, shared)


def code_of(graph: fx.Graph) -> str:
    """The graph's Python code: graphs with equal code compute the same."""
    return graph.python_code("self").src


def _random_states() -> tuple[object, ...]:
    ours = (torch.get_rng_state().tolist(), random.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ours
    _, words, position, *_ = numpy.random.get_state()
    return (*ours, words.tolist(), position)
