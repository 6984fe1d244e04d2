"""Insert BAM into a model by rewriting its graph or attaching hooks, and check the result."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from bamsearch.errors import DesignError, InvalidValueError
from bamsearch.graph.bams import refuse_bam
from bamsearch.graph.base import Base
from bamsearch.graph.checking import ComparedBy
from bamsearch.graph.models import base_model, is_versioned, named_module
from bamsearch.graph.placement import place
from bamsearch.graph.tracing.copying import unwrapped
from bamsearch.records import (
    Design,
    How,
    Init,
    InputShape,
    Insertion,
    Site,
    Variant,
    check_input_shape,
)
from bamsearch.records.arguments import checked

_log = logging.getLogger(__name__)


@checked
def insert_bam(  # noqa: PLR0913
    model: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    sites: str | Sequence[str] | None = None,
    reduction: int | None = None,
    dilation: int | None = None,
    variant: Variant | None = None,
    init: Init | None = None,
    design: Design | None = None,
    how: How = "auto",
    check: bool = True,
    example_inputs: Any = None,
) -> nn.Module:
    """Return a copy of the model with BAM inserted; the model itself is not changed.

    Existing ``state_dict`` keys and values are kept; BAM adds the keys ``bam.<site, dots as _>.…``
    to the feature network: the model itself, or ``backbone.body.bam.…`` in a detector. Submodules
    keep their classes, hooks and modes. Output containers, dropout and stochastic depth behave as
    before in both modes.

    ``rewrite`` adds BAM to the graph of the feature network, which becomes a
    :class:`torch.fx.GraphModule`: extra methods, such as timm's ``forward_features``, are lost,
    plain attributes are kept. Calling a container with sites directly (``model.features(x)``) runs
    it without BAM. Save the result with :func:`bamsearch.save` or as a ``state_dict``; it cannot
    be pickled.

    ``attach`` runs BAM in a forward hook of the module whose output is the site. The class is kept,
    with its methods, properties, contexts such as ``torch.no_grad``, gradient checkpointing and
    stored tensors; the result can be pickled. A site must be the output of a module that is called
    once. ``nn.DataParallel`` over several GPUs does not copy hooks: use DistributedDataParallel.

    ``torch.compile`` wrappers are removed: compile the result.

    The result is checked: with every BAM closed, its output must equal the model's bit for bit on
    small random inputs, in eval and train mode, with the same gradients, buffers, stored values
    and gradient checkpoints. Above 300 M parameters only shapes are compared.

    Args:
        model: any module, or a MODEL such as ``"resnet18"``, which is built with random weights;
            its feature network must be traceable, see :func:`bamsearch.find_sites`.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`.
        sites: a placement (``paper``, the default, ``bottlenecks``, ``stages``, ``blocks``) or
            names of sites.
        reduction: r of every BAM; None is 16.
        dilation: d of every BAM; None is 4.
        variant: ``paper``, the default, or ``official``, see :class:`bamsearch.BAM`.
        init: ``paper``, the default, or ``identity`` for pretrained networks.
        design: all of the above in one, with separate r and d for each site.
        how: ``rewrite``, ``attach``, or ``auto``: the design's, else rewrite, or attach if
            rewriting fails or the result does not pass the check.
        check: False skips the check.
        example_inputs: inputs for models that take more than images, see
            :func:`bamsearch.find_sites`.

    Raises:
        NoSiteError: the placement has no site in this model.
        InvalidValueError: unknown site or placement, r or d out of range, or an option that a
            design contradicts.
        ModelError: the model already has BAM, cannot be copied or traced, does not accept this
            input, or neither method gives a network that passes the check.
        DesignError: the design is for another model.
    """
    if design is not None:
        _refuse_contradictions(
            design,
            model=model if isinstance(model, str) else None,
            input_shape=None if input_shape is None else check_input_shape(input_shape),
            sites=sites,
            reduction=reduction,
            dilation=dilation,
            variant=variant,
            init=init,
            how=None if "auto" in (how, design.how) else how,
        )
        input_shape = design.input_shape
        if isinstance(model, str):
            model = base_model(design)
    name, model, shape = named_module(model, input_shape)
    refuse_bam(model)
    base = Base(model, shape, example_inputs)
    if design is None:
        r, d = 16 if reduction is None else reduction, 4 if dilation is None else dilation
        chosen = place(base.sites, "paper" if sites is None else sites)
        insertions = tuple(Insertion(site.name, r, d) for site in chosen)
        design = Design(name, shape, insertions, variant or "paper", init or "paper", how=how)
    else:
        check_design_fits(design, model, base.sites)
        if design.how == "auto":
            design = replace(design, how=how)
    inserted = base.insert(design, check=check)
    if inserted.compared in ("shapes", "nothing"):
        _log.warning("%s: %s", type(model).__name__, NOT_COMPARED[inserted.compared])
    return inserted.module


def _refuse_contradictions(design: Design, **options: object) -> None:
    """Raise InvalidValueError for an option of :func:`insert_bam` that differs from the design."""
    for name, value in options.items():
        if value is not None and value != getattr(design, name, None):
            raise InvalidValueError(
                f"{name}={value!r}, but the design determines {name}: omit it, or change the design"
            )


NOT_COMPARED: dict[ComparedBy, str] = {
    "shapes": "too large to run: only shapes were compared with the base, not values",
    "nothing": "not compared with the base, which does not run on random images",
}
"""Messages for checks that could not compare values."""


def check_design_fits(design: Design, module: nn.Module, sites: Sequence[Site]) -> None:
    """Raise DesignError if the design is for another model than module.

    A module has no model name, and ResNets share their sites. So names and shapes of the weights
    are compared, only in children with sites: the head may be custom. Designs for factories are
    not checked.
    """
    if not is_versioned(design.model):
        return
    reference = base_model(design, initialise=False)
    with_sites = {site.name.partition(".")[0] for site in sites}

    def shapes(network: nn.Module) -> dict[str, torch.Size]:
        # Frozen norms, as in pretrained detectors, have no batch counter.
        return {
            key: value.shape
            for key, value in network.state_dict().items()
            if key.partition(".")[0] in with_sites and not key.endswith(".num_batches_tracked")
        }

    if shapes(reference) != shapes(unwrapped(module)):
        raise DesignError(
            f"the design is for {design.model}, but this {type(module).__name__} is another model: "
            "pass a model built by that name to insert_bam, or sites instead of a design"
        )
