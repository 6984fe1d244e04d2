"""The module that a rewritten graph becomes."""

from __future__ import annotations

import copy
from typing import Any, NoReturn

from torch import fx, nn
from torch.nn.modules.module import _WrappedHook

from bamsearch.errors import ModelError

# What nn.Module keeps its own tensors and children in.
_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class InsertedModel(fx.GraphModule):
    """A network with BAM in it: a GraphModule with everything that the network owned.

    A plain GraphModule keeps only what its graph mentions, so that in eval mode GoogLeNet would
    lose its auxiliary heads, and has one graph for both modes.

    Args:
        root: the network; its children, parameters, buffers and plain attributes are taken over.
        train_graph: the graph in train mode.
        eval_graph: the graph in eval mode; the same object where the mode changes nothing.
        bound: paths of the modules that must be in the network's own mode when it is called.
    """

    def __init__(
        self,
        root: nn.Module,
        train_graph: fx.Graph,
        eval_graph: fx.Graph,
        bound: tuple[str, ...] = (),
    ) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name=type(root).__name__)
        # A GraphModule's meta is empty; a network may have one of its own.
        own = set(self.__dict__) - {"meta"}
        self.__dict__.update({name: root.__dict__[name] for name in _STATE})
        self.__dict__.update({k: v for k, v in root.__dict__.items() if k not in own})
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
        """Set the mode, and with it the graph."""
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
        """Refuse: a pickled GraphModule is traced again on load and can compute something else."""
        raise TypeError(
            "a network with BAM cannot be pickled whole: use bamsearch.save(model, folder), "
            "or torch.save(model.state_dict(), file)"
        )


def _refuse_mixed_modes(network: InsertedModel, args: tuple[Any, ...]) -> None:
    """Neither graph is right where a part that asks for its mode is in another one."""
    for path in network.bound:
        if network.get_submodule(path).training != network.training:
            one, other = ("train", "eval") if network.training else ("eval", "train")
            raise ModelError(
                f"{path} is in {other} mode and the network around it in {one} mode: what it does "
                f"depends on that. Insert BAM into {path} alone, then it keeps a mode of its own"
            )


def _bound_to(module: nn.Module, hook: Any) -> Any:
    """A hook that torch has bound to its module, bound to another."""
    return _WrappedHook(hook.hook, module) if getattr(hook, "with_module", False) else hook
