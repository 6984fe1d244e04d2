"""The coarse trace: through the modules around a site and no others, in both modes.

What tracing through a module would lose or freeze is refused here, by name.
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
from bamsearch.graph.copying import copy_model
from bamsearch.graph.tracing import Trace, mode, trace
from bamsearch.records import Site


def opened_by(names: Sequence[str]) -> frozenset[str]:
    """The modules to trace through: those around a site, the root included."""
    return frozenset(
        ".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)
    )


def refuse_unsafe(part: nn.Module, opened: frozenset[str]) -> None:
    """Tracing through a module drops its hooks and parametrizations silently: refuse by name."""
    for path, module in part.named_modules():
        if path not in opened:
            continue
        hooks = (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        )
        what = "hooks" if hooks else "parametrizations"
        if hooks or parametrize.is_parametrized(module):
            raise ModelError(
                f"{path or type(module).__name__} has {what}, which tracing would drop: "
                "remove them, insert BAM, and put them back"
            )


def trace_coarsely(part: nn.Module, names: Sequence[str], *, training: bool) -> Trace:
    """The coarse trace of part in one mode; part stays as it is."""
    before = _random_states()
    scratch = _scratch(part)
    with mode(scratch, training=training):
        coarse = trace(scratch, opened_by(names))
    if _random_states() != before:
        raise ModelError(
            f"{type(part).__name__} draws random numbers in Python, outside of any layer, and "
            "tracing would freeze them to constants. Move that into a module of its own"
        )
    return coarse


def modules_bound_to_root(
    part: nn.Module, names: Sequence[str], train_code: str, eval_code: str
) -> tuple[str, ...]:
    """The traced modules whose own mode matters: in one graph it must be the root's."""
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
    """Give part the tensors that the traced forward made itself, under names that are free."""
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
    """Names number an operation's and a module's calls: the count must not depend on the mode."""
    numbers = re.compile(r"[@_]\d+$")
    for site, name in zip(chosen, names, strict=True):
        reached = {"train": in_train.site_names().values(), "eval": in_eval.site_names().values()}
        for when, there in reached.items():
            if name not in there:
                raise ModelError(f"{site.name} is not reached in {when} mode: choose another site")
        stem = numbers.sub("", name)
        train_count, eval_count = (
            sum(numbers.sub("", other) == stem for other in there) for there in reached.values()
        )
        if train_count != eval_count:
            raise ModelError(
                f"{site.name} is not the same in train and eval mode, where {stem} happens "
                f"{train_count} and {eval_count} times: choose another site"
            )


def _scratch(part: nn.Module) -> nn.Module:
    """A copy to trace, with the tensors of part: what a forward stores is left on the copy."""
    shared = {id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())}
    return copy_model(part, shared)


def code_of(graph: fx.Graph) -> str:
    """The Python that the graph stands for: equal code computes the same."""
    return graph.python_code("self").src


def _random_states() -> tuple[object, ...]:
    ours = (torch.get_rng_state().tolist(), random.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ours
    _, words, position, *_ = numpy.random.get_state()
    return (*ours, words.tolist(), position)
