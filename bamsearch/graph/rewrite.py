"""The rewriting pass: insert BAM into the graph of a network after its sites.

Sites come from a deep trace; the rewrite traces again, coarsely: with all modules without a site as
leaves. A ResNet with three BAMs is then its usual forward with ``layer1`` to ``layer4`` intact:
hooks fire, and stochastic depth and attention keep their train and eval behaviour. Modules that
tracing would damage (lost hooks, frozen random numbers) are refused by name.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import fx, nn
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils import parametrize

from bamsearch.errors import ModelError
from bamsearch.graph.bams import Bams, key_of
from bamsearch.graph.tracing.copying import HOOKS, copy_model
from bamsearch.graph.tracing.tracer import Trace, trace
from bamsearch.records import Site

# Attributes in which nn.Module stores its tensors and children.
_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def rewrite(
    part: nn.Module, names: Sequence[str], chosen: Sequence[Site], bams: Bams
) -> InsertedModel:
    """Rewrite a feature network so that each site's map passes through its BAM."""
    # The modules to trace through: all that contain a site, including the root.
    opened = frozenset(
        ".".join(name.split(".")[:depth]) for name in names for depth in range(name.count(".") + 1)
    )
    _refuse_unsafe(part, opened)
    # Trace before adding BAM: nn.Sequential and torchvision's feature getters run all children.
    coarse = [_trace_coarsely(part, opened, training=training) for training in (True, False)]
    _check_same_in_both(chosen, names, *coarse)
    bound = _modules_bound_to_root(part, opened, *(_code_of(traced.graph) for traced in coarse))
    for traced in coarse:
        _adopt_constants(part, traced)
    # Add BAM before creating the GraphModule: fx may lose later additions (pytorch #66197).
    part.add_module("bam", bams)
    train_graph, eval_graph = (_rewritten(traced, names, chosen) for traced in coarse)
    if _code_of(train_graph) == _code_of(eval_graph):
        train_graph = eval_graph
    inserted = InsertedModel(part, train_graph, eval_graph, bound)
    for graph in {id(graph): graph for graph in (train_graph, eval_graph)}.values():
        graph.owning_module = inserted
        graph.lint()
    return inserted


def _rewritten(coarse: Trace, names: Sequence[str], chosen: Sequence[Site]) -> fx.Graph:
    """The coarse graph with a BAM after each site."""
    nodes = {name: node for node, name in coarse.site_names().items()}
    for name, site in zip(names, chosen, strict=True):
        node = nodes[name]
        with coarse.graph.inserting_after(node):
            bam = coarse.graph.call_module(f"bam.{key_of(site)}", (node,))
        node.replace_all_uses_with(bam)
        bam.args = (node,)  # replace_all_uses_with replaced BAM's input too
    return coarse.graph


def _refuse_unsafe(part: nn.Module, opened: frozenset[str]) -> None:
    """Refuse modules with hooks or parametrizations, which tracing would drop silently."""
    for path, module in part.named_modules():
        hooked = any(getattr(module, name) for name in HOOKS)
        if path in opened and (hooked or parametrize.is_parametrized(module)):
            raise ModelError(
                f"{path or type(module).__name__} has "
                f"{'hooks' if hooked else 'parametrizations'}, which tracing would drop: "
                "remove them, insert BAM, and put them back"
            )


def _trace_coarsely(part: nn.Module, opened: frozenset[str], *, training: bool) -> Trace:
    """The coarse trace of part in one mode; part is not modified."""
    before = _random_states()
    coarse = trace(_scratch(part).train(training), opened)
    if _random_states() != before:
        raise ModelError(
            f"{type(part).__name__} draws random numbers in Python, outside any layer, and "
            "tracing would freeze them to constants. Move that into a separate module"
        )
    return coarse


def _modules_bound_to_root(
    part: nn.Module, opened: frozenset[str], train_code: str, eval_code: str
) -> tuple[str, ...]:
    """The traced modules whose mode changes the graph, so that it must equal the root's."""
    if train_code == eval_code:
        return ()
    bound = []
    for path in sorted(opened - {""}):
        scratch = _scratch(part).train()
        scratch.get_submodule(path).training = False
        try:
            same = _code_of(trace(scratch, opened).graph) == train_code
        except ModelError:
            same = False
        if not same:
            bound.append(path)
    return tuple(bound)


def _adopt_constants(part: nn.Module, coarse: Trace) -> None:
    """Store tensors that the traced forward created in part, under unused names."""
    for node in coarse.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name.startswith("_tensor_constant"):
            number = 0
            while hasattr(part, free := f"_tensor_constant{number}"):
                number += 1
            setattr(part, free, getattr(coarse.root, name))
            node.target = free


def _check_same_in_both(
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


def _code_of(graph: fx.Graph) -> str:
    """The graph's Python code: graphs with equal code compute the same."""
    return graph.python_code("self").src


def _random_states() -> tuple[object, ...]:
    _, words, position, *_ = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), np.asarray(words).tolist(), position


class InsertedModel(fx.GraphModule):
    """A network with BAM: a GraphModule with all attributes of the original network.

    A plain GraphModule has one graph for both modes and keeps only what this graph uses, so that
    GoogLeNet in eval mode would lose its auxiliary heads.

    Args:
        root: the network; its children, parameters, buffers and plain attributes are moved here.
        train_graph: the graph in train mode.
        eval_graph: the graph in eval mode; the same object if both modes are equal.
        bound: paths of the modules whose mode must equal the network's when it is called.
    """

    def __init__(
        self,
        root: nn.Module,
        train_graph: fx.Graph,
        eval_graph: fx.Graph,
        bound: tuple[str, ...] = (),
    ) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name=type(root).__name__)
        # A GraphModule's meta is empty; the network may have a meta attribute too.
        defined = set(self.__dict__) - {"meta"}
        self.__dict__.update({name: root.__dict__[name] for name in _STATE})
        self.__dict__.update({k: v for k, v in root.__dict__.items() if k not in defined})
        for name in _STATE_HOOKS:
            for key, hook in root.__dict__[name].items():
                self.__dict__[name][key] = _bound_to(self, hook)
        self.training = root.training
        self.train_graph = train_graph
        self.eval_graph = eval_graph
        self.graph = train_graph if self.training else eval_graph
        self.bound = bound
        if bound:
            self.register_forward_pre_hook(_refuse_mixed_modes)

    def train(self, mode: bool = True) -> InsertedModel:
        """Set the mode and select its graph."""
        graph = self.train_graph if mode else self.eval_graph
        if graph is not self.graph:
            self.graph = graph
        return super().train(mode)

    def __deepcopy__(self, memo: dict[int, Any]) -> InsertedModel:
        """Copy everything: GraphModule's own copy drops attributes, hooks and the second graph."""
        result: InsertedModel = type(self).__new__(type(self))
        memo[id(self)] = result
        result.__dict__.update(copy.deepcopy(self.__dict__, memo))
        result.graph = result._graph  # compiles forward for the copy
        return result

    def __reduce__(self) -> NoReturn:
        """Refuse pickling: a GraphModule is traced again on load, possibly with another result."""
        raise TypeError(
            "a rewritten network cannot be pickled: use bamsearch.save(model, folder), "
            "or torch.save(model.state_dict(), file)"
        )


def _refuse_mixed_modes(network: InsertedModel, args: tuple[Any, ...]) -> None:
    """Raise ModelError if a mode-dependent part is in another mode: neither graph is right then."""
    for path in network.bound:
        if network.get_submodule(path).training != network.training:
            outer, inner = ("train", "eval") if network.training else ("eval", "train")
            raise ModelError(
                f"{path} is in {inner} mode inside a network in {outer} mode, and its forward "
                f"depends on the mode. Insert BAM into {path} alone to give it a separate mode"
            )


def _bound_to(module: nn.Module, hook: Any) -> Any:
    """A hook, rebound to module if torch had bound it to another one."""
    return _WrappedHook(hook.hook, module) if getattr(hook, "with_module", False) else hook
