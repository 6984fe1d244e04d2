"""The module that a rewritten graph becomes."""

from __future__ import annotations

import copy
from typing import Any, NoReturn

from torch import fx, nn

# What nn.Module keeps its own tensors and children in.
_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


class InsertedModel(fx.GraphModule):
    """A network with BAM in it: a GraphModule with everything that the network owned.

    A plain GraphModule keeps only what its graph mentions, so that in eval mode GoogLeNet would
    lose its auxiliary heads, and has one graph for both modes.

    Args:
        root: the network; its children, parameters, buffers and plain attributes are taken over.
        train_graph: the graph in train mode.
        eval_graph: the graph in eval mode; the same object where the mode changes nothing.
    """

    def __init__(self, root: nn.Module, train_graph: fx.Graph, eval_graph: fx.Graph) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name=type(root).__name__)
        own = set(self.__dict__)
        self.__dict__.update({name: root.__dict__[name] for name in _STATE})
        self.__dict__.update({k: v for k, v in root.__dict__.items() if k not in own})
        self.training = root.training
        self.train_graph = train_graph
        self.eval_graph = eval_graph
        self.graph = train_graph if self.training else eval_graph

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
