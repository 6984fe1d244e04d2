"""Create, find and freeze the BAMs of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.attach import Bams
from bamsearch.records import Design, Site
from bamsearch.records.arguments import checked


@checked
def bam_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of every BAM in a model, for an optimizer's parameter group."""
    bams = [module for module in model.modules() if isinstance(module, BAM)]
    return chain.from_iterable(bam.parameters() for bam in bams)


@checked
def freeze_bam_bn(model: nn.Module) -> nn.Module:
    """Keep the batch norms of every BAM in eval mode, for batches too small to normalise by.

    The norms then use their running statistics, which no longer change, even after
    ``model.train()``; their weights and biases are still trained. A new BAM has a running mean of
    0 and a variance of 1. ``nn.SyncBatchNorm.convert_sync_batchnorm`` may be applied before or
    after. The ``state_dict`` does not record freezing: call this again after loading.

    Args:
        model: a network with BAM; modified in place.

    Returns:
        The same network.
    """
    for bam in (module for module in model.modules() if isinstance(module, BAM)):
        bam.norms_frozen = True
        bam.train(bam.training)
    return model


def refuse_bam(model: nn.Module) -> None:
    """Raise ModelError if the model contains a BAM."""
    path = next((path for path, module in model.named_modules() if isinstance(module, BAM)), None)
    if path is not None:
        raise ModelError(
            f"{type(model).__name__} already has BAM at {path}: insert into the network without it"
        )


def make_bams(part: nn.Module, chosen: Sequence[Site], design: Design) -> Bams:
    """Create BAMs for the chosen sites, with the device, dtype and mode of part.

    Raises:
        ModelError: part already has an attribute called ``bam``.
        InvalidValueError: two sites would share a name, or r or d is out of range.
    """
    if hasattr(part, "bam"):
        raise ModelError(f"{type(part).__name__} already has an attribute 'bam': rename it")
    like = next((p for p in part.parameters() if p.is_floating_point()), None)
    bams = Bams()  # not a ModuleDict: a site may be called `keys` or `values`
    bams.design = design
    for site, insertion in zip(chosen, design.insertions, strict=True):
        key = key_of(site)
        if hasattr(bams, key):
            raise InvalidValueError(f"{site.name} and another site would both be named bam.{key}")
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
    return bams.train(part.training)


def key_of(site: Site) -> str:
    """Attribute name of a site's BAM in :class:`Bams`."""
    return site.name.replace(".", "_")
