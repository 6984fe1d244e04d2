"""The module class of a rewritten network."""

from __future__ import annotations

import copy
from typing import Any, NoReturn

from torch import fx, nn
from torch.nn.modules.module import _WrappedHook

from bamsearch.errors import ModelError

# Attributes in which nn.Module stores its tensors and children.
_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


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
