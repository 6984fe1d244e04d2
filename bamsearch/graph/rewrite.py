"""The rewriting pass: BAM goes into the graph of a network after its sites.

Sites are found on a deep trace; the rewrite traces again with every module that contains no site
as a leaf. A ResNet with three BAMs is then its own forward with ``layer1`` to ``layer4`` whole:
hooks fire, stochastic depth and attention keep their own train and eval behaviour.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import fx, nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.norm import Freezable
from bamsearch.errors import DesignError, InvalidValueError, ModelError
from bamsearch.graph.coarse import (
    check_same_in_both,
    code_of,
    modules_bound_to_root,
    opened_by,
    refuse_unsafe,
    trace_coarsely,
)
from bamsearch.graph.inserted import InsertedModel
from bamsearch.graph.models import build_model, is_versioned
from bamsearch.graph.network import Network, find_network
from bamsearch.graph.placement import place
from bamsearch.graph.sites import sites_of
from bamsearch.graph.tracing import Trace
from bamsearch.records import Design, Init, Insertion, Site, Variant, check_input_shape


def insert_bam(
    model: nn.Module,
    input_shape: Sequence[int] = (3, 224, 224),
    *,
    sites: str | Sequence[str] = "paper",
    reduction: int = 16,
    dilation: int = 4,
    variant: Variant = "paper",
    init: Init = "paper",
    design: Design | None = None,
) -> nn.Module:
    """Return a copy of the model with BAM in it; the given model is not changed.

    The copy's base part keeps its ``state_dict`` keys and values; BAM's keys are
    ``bam.<site, dots as _>.…`` below the rewritten part: the model itself, or in a detector its
    feature network (``backbone.body.bam.…``). Submodules keep their classes, hooks and modes.
    Container types of the output, dropout and stochastic depth are as before in both modes.

    Lost: the class of the rewritten part (it becomes a :class:`torch.fx.GraphModule`) and with it
    its extra methods, such as timm's ``forward_features``; plain attributes are kept. Calling a
    container that holds sites by hand (``model.features(x)``) runs it without BAM. The result is
    saved by :func:`bamsearch.save` or as a ``state_dict``, never pickled whole.

    Args:
        model: any module whose feature network torch.fx can trace.
        input_shape: one input without the batch: (C, H, W), or (C, T, H, W) for video.
        sites: a placement (``paper``, ``bottlenecks``, ``stages``, ``blocks``) or names of sites.
        reduction: r of every BAM.
        dilation: d of every BAM.
        variant: ``paper`` or ``official``, see :class:`bamsearch.BAM`.
        init: ``paper``, or ``identity`` for networks that are already trained.
        design: gives all of the above instead, each site with its own r and d.

    Raises:
        NoSiteError: the placement has no site in this model.
        InvalidValueError: no such site or placement, r or d out of range.
        ModelError: the model has BAM already, cannot be traced, does not take this input, or has
            hooks or parametrizations where tracing would lose them.
        DesignError: the design is for another model.
    """
    refuse_bam(model)
    if design is not None:
        network = find_network(model, design.input_shape)
        sites_there = sites_of(network)
        check_design_fits(design, model, sites_there)
        return insert(model, network, sites_there, design)
    network = find_network(model, check_input_shape(input_shape))
    found = sites_of(network)
    insertions = [Insertion(site.name, reduction, dilation) for site in place(found, sites)]
    asked = Design(type(model).__name__, tuple(input_shape), tuple(insertions), variant, init)
    return insert(model, network, found, asked)


def bam_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of every BAM in a model, for an optimizer's parameter group."""
    bams = [module for module in model.modules() if isinstance(module, BAM)]
    return chain.from_iterable(bam.parameters() for bam in bams)


def freeze_bam_bn(model: nn.Module) -> nn.Module:
    """Keep the batch norms of every BAM in eval mode, for batches too small to normalise by.

    They then use their running statistics, which stay as they are, also after ``model.train()``;
    their weights and biases go on learning. A fresh BAM's statistics are a mean of 0 and a variance
    of 1. Nothing of it is in the ``state_dict``: call it again after loading.

    Args:
        model: a network with BAM in it, which is changed.

    Returns:
        The same network.
    """
    for bam in (module for module in model.modules() if isinstance(module, BAM)):
        for norm in bam.modules():
            if isinstance(norm, Freezable):
                norm.frozen = True
                norm.train(False)
    return model


def check_design_fits(design: Design, module: nn.Module, sites: Sequence[Site]) -> None:
    """Raise DesignError if the design was made for another model than module.

    Names do not tell (a module has none), nor do sites (ResNets share theirs): the names and shapes
    of the weights do, of the children that have sites. A head may be the user's own. Designs for
    factories are taken at their word.
    """
    if not is_versioned(design.model):
        return
    reference = build_model(
        design.model,
        design.input_shape,
        num_classes=design.num_classes,
        weights=design.weights,
        initialise=False,
    )
    with_sites = {site.name.partition(".")[0] for site in sites}

    def shapes(network: nn.Module) -> dict[str, torch.Size]:
        # A frozen norm, as in trained detectors, counts no batches.
        return {
            key: value.shape
            for key, value in network.state_dict().items()
            if key.partition(".")[0] in with_sites and not key.endswith(".num_batches_tracked")
        }

    if shapes(reference) != shapes(module):
        raise DesignError(
            f"the design is for {design.model}, and this {type(module).__name__} is not one: "
            "give insert_bam a model built by that name, or sites instead of a design"
        )


def refuse_bam(model: nn.Module) -> None:
    """Raise ModelError if there is a BAM in the model."""
    path = next((path for path, module in model.named_modules() if isinstance(module, BAM)), None)
    if path is not None:
        raise ModelError(
            f"{type(model).__name__} already has BAM at {path}: insert into the network without it"
        )


def insert(model: nn.Module, network: Network, sites: Sequence[Site], design: Design) -> nn.Module:
    """Rewrite a copy of the model.

    Args:
        model: the model.
        network: its feature network, from :func:`bamsearch.graph.network.find_network`.
        sites: the network's sites.
        design: what goes where; its model and input_shape are not looked at.

    Raises:
        InvalidValueError, ModelError: as :func:`insert_bam`.
    """
    result = copy.deepcopy(model)
    if not design.insertions:
        return result
    part = result.get_submodule(network.path)
    prefix = f"{network.path}." if network.path else ""
    chosen = place(sites, [insertion.site for insertion in design.insertions])
    names = [site.name.removeprefix(prefix) for site in chosen]
    refuse_unsafe(part, opened_by(names))
    # Traced before BAM is added: nn.Sequential and torchvision's feature getters run all children.
    coarse = [trace_coarsely(part, names, training=training) for training in (True, False)]
    check_same_in_both(chosen, names, *coarse)
    bound = modules_bound_to_root(part, names, *(code_of(traced.graph) for traced in coarse))
    _add_modules(part, chosen, design)
    train_graph, eval_graph = (_rewritten(traced, names, chosen) for traced in coarse)
    if code_of(train_graph) == code_of(eval_graph):
        train_graph = eval_graph
    inserted = InsertedModel(part, train_graph, eval_graph, bound)
    for graph in {id(graph): graph for graph in (train_graph, eval_graph)}.values():
        graph.owning_module = inserted
        graph.lint()
    if not network.path:
        return inserted
    result.set_submodule(network.path, inserted)
    return result


def _add_modules(part: nn.Module, chosen: Sequence[Site], design: Design) -> None:
    if hasattr(part, "bam"):
        raise ModelError(f"{type(part).__name__} already has an attribute 'bam': rename it")
    like = next((p for p in part.parameters() if p.is_floating_point()), None)
    bams = nn.Module()  # not a ModuleDict: a site may be called `keys` or `values`
    for site, insertion in zip(chosen, design.insertions, strict=True):
        key = _key(site)
        if hasattr(bams, key):
            raise InvalidValueError(f"{site.name} and another site are both called bam.{key}")
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
    # Before the GraphModule is made: fx may lose what is added to one (pytorch #66197).
    part.add_module("bam", bams.train(part.training))


def _rewritten(coarse: Trace, names: Sequence[str], chosen: Sequence[Site]) -> fx.Graph:
    """The coarse graph with a BAM after each site."""
    nodes = {name: node for node, name in coarse.site_names().items()}
    for name, site in zip(names, chosen, strict=True):
        node = nodes[name]
        with coarse.graph.inserting_after(node):
            bam = coarse.graph.call_module(f"bam.{_key(site)}", (node,))
        node.replace_all_uses_with(bam)
        bam.args = (node,)  # its own input was replaced too
    return coarse.graph


def _key(site: Site) -> str:
    return site.name.replace(".", "_")
