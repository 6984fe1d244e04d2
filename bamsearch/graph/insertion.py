"""BAM put into a model: by rewriting its graph or by attaching, and checked by running."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bamsearch.errors import BamsearchError, DesignError, ModelError
from bamsearch.graph.attach import Bams, attach
from bamsearch.graph.bams import make_bams, refuse_bam
from bamsearch.graph.checking import Check, Compared
from bamsearch.graph.copying import copy_model, unwrapped
from bamsearch.graph.models import build_model, is_versioned
from bamsearch.graph.network import Network, find_network
from bamsearch.graph.placement import place
from bamsearch.graph.rewrite import rewrite
from bamsearch.graph.sites import sites_of
from bamsearch.records import Design, How, Init, Insertion, Site, Variant, check_input_shape

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Inserted:
    """A network with BAM, and how it was made.

    Attributes:
        module: the network.
        how: ``rewrite`` or ``attach``; what was asked for where no BAM goes in.
        why: why it was not rewritten, where ``auto`` attached.
        compared: what was compared with the base; None if nothing was run.
    """

    module: nn.Module
    how: How
    why: str | None = None
    compared: Compared | None = None


def insert_bam(  # noqa: PLR0913
    model: nn.Module,
    input_shape: Sequence[int] = (3, 224, 224),
    *,
    sites: str | Sequence[str] = "paper",
    reduction: int = 16,
    dilation: int = 4,
    variant: Variant = "paper",
    init: Init = "paper",
    design: Design | None = None,
    how: How = "auto",
    check: bool = True,
    example_inputs: Any = None,
) -> nn.Module:
    """Return a copy of the model with BAM in it; the given model is not changed.

    The copy's base part keeps its ``state_dict`` keys and values; BAM's keys are
    ``bam.<site, dots as _>.…`` below the feature network: the model itself, or in a detector
    ``backbone.body.bam.…``. Submodules keep their classes, hooks and modes. Container types of the
    output, dropout and stochastic depth are as before in both modes.

    ``rewrite`` puts BAM into the graph of the feature network. Lost is the class of that network
    (it becomes a :class:`torch.fx.GraphModule`) and with it its extra methods, such as timm's
    ``forward_features``; plain attributes are kept. Calling a container that holds sites by hand
    (``model.features(x)``) runs it without BAM. The result is saved by :func:`bamsearch.save` or as
    a ``state_dict``, never pickled whole.

    ``attach`` runs BAM in a forward hook of the module whose output the site is. The class stays,
    with its methods, properties, contexts such as ``torch.no_grad``, gradient checkpointing and
    stored tensors; the result can be pickled. A site must be the output of a module that is called
    once. ``nn.DataParallel`` over several GPUs does not copy hooks: use DistributedDataParallel.

    Models that ``torch.compile`` wrapped are unwrapped: compile the result.

    The result is checked: with every BAM closed it must compute what the model computes, bit for
    bit, on small random inputs, in eval and in train mode, with the same gradients, buffers, stored
    values and gradient checkpoints. Above 300 M parameters shapes alone are compared.

    Args:
        model: any module; its feature network must be traceable, see :func:`bamsearch.find_sites`.
        input_shape: one input without the batch: (C, H, W), or (C, T, H, W) for video.
        sites: a placement (``paper``, ``bottlenecks``, ``stages``, ``blocks``) or names of sites.
        reduction: r of every BAM.
        dilation: d of every BAM.
        variant: ``paper`` or ``official``, see :class:`bamsearch.BAM`.
        init: ``paper``, or ``identity`` for networks that are already trained.
        design: gives all of the above instead, each site with its own r and d.
        how: ``rewrite``, ``attach``, or ``auto``: rewrite, and attach where that fails or does not
            pass the check. A design that names a way is inserted that way.
        check: False skips the check.
        example_inputs: what to call a model with that takes more than images, see
            :func:`bamsearch.find_sites`.

    Raises:
        NoSiteError: the placement has no site in this model.
        InvalidValueError: no such site or placement, r or d out of range.
        ModelError: the model has BAM already, cannot be copied or traced, does not take this input,
            or neither way gives a network that passes the check.
        DesignError: the design is for another model.
    """
    refuse_bam(model)
    shape = check_input_shape(input_shape if design is None else design.input_shape)
    network = find_network(model, shape, example_inputs)
    found = sites_of(network)
    if design is None:
        insertions = [Insertion(site.name, reduction, dilation) for site in place(found, sites)]
        name = type(model).__name__
        design = Design(name, shape, tuple(insertions), variant, init, how=how)
    else:
        check_design_fits(design, model, found)
        if design.how == "auto":
            design = replace(design, how=how)
    inserter = Check(model, network, found, shape, example_inputs) if check else None
    inserted = insert_by(model, network, found, design, inserter)
    if inserted.compared in ("shapes", "nothing"):
        _log.warning("%s: %s", type(model).__name__, NOT_COMPARED[inserted.compared])
    return inserted.module


NOT_COMPARED: dict[Compared, str] = {
    "shapes": "too large to run: shapes were compared with the base's, values were not",
    "nothing": "the base does not run on random images: the network was not compared with it",
}
"""What to say where a check could not compare values."""


def insert(model: nn.Module, network: Network, sites: Sequence[Site], design: Design) -> nn.Module:
    """Insert without a check: see :func:`insert_by`."""
    return insert_by(model, network, sites, design).module


def insert_by(
    model: nn.Module,
    network: Network,
    sites: Sequence[Site],
    design: Design,
    check: Check | None = None,
) -> Inserted:
    """Insert BAM into a copy of the model, the way that the design names.

    Args:
        model: the model.
        network: its feature network, from :func:`bamsearch.graph.network.find_network`.
        sites: the network's sites.
        design: what goes where, and how; its model and input_shape are not looked at.
        check: compares the result with the model; None trusts each way that raises no error.

    Raises:
        InvalidValueError, ModelError: as :func:`insert_bam`.
    """
    if not design.insertions:
        return Inserted(copy_model(model), design.how)
    chosen = place(sites, [insertion.site for insertion in design.insertions])
    bams = make_bams(network.module, chosen, design)
    reasons: dict[How, str] = {}
    ways: tuple[How, ...] = ("rewrite", "attach") if design.how == "auto" else (design.how,)
    for way in ways:
        try:
            module = _insert(model, network, chosen, bams, way)
            compared = check.compare(module) if check else None
        except ModelError as error:
            reasons[way] = str(error)
        else:
            return Inserted(module, way, reasons.get("rewrite"), compared)
    done = {"rewrite": "rewritten", "attach": "attached"}
    why = "; ".join(f"{done[way]}, {reason}" for way, reason in reasons.items())
    raise ModelError(f"{type(model).__name__} cannot take BAM there: {why}")


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

    if shapes(reference) != shapes(unwrapped(module)):
        raise DesignError(
            f"the design is for {design.model}, and this {type(module).__name__} is not one: "
            "give insert_bam a model built by that name, or sites instead of a design"
        )


def _insert(
    model: nn.Module, network: Network, chosen: Sequence[Site], bams: Bams, way: How
) -> nn.Module:
    """A copy of the model with the BAMs in it."""
    result = copy_model(model)
    part = result.get_submodule(network.path)
    prefix = f"{network.path}." if network.path else ""
    names = [site.name.removeprefix(prefix) for site in chosen]
    if way == "attach":
        attach(part, network.deep, names, chosen, bams)
        return result
    try:
        rewritten = rewrite(part, names, chosen, bams)
    except BamsearchError:
        raise
    except Exception as error:  # torch.fx, on code that it was not made for
        reason = (str(error).splitlines() or [type(error).__name__])[0][:150]
        raise ModelError(f"torch.fx cannot rewrite it: {reason}") from error
    if not network.path:
        return rewritten
    result.set_submodule(network.path, rewritten)
    return result
