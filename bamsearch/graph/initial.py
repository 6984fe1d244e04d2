"""Initial BAM weights, chosen so that designs are comparable."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import hidden_channels
from bamsearch.records import Design


def initialise_bams(network: nn.Module, design: Design, seed: int) -> None:
    """Initialise each BAM from the seed, its site and its hidden width only.

    Designs that share a site thus share its initial weights, whatever the dilation, the other BAMs
    and the device, so that differences between results come from the designs.

    Args:
        network: network of the design; only its BAMs are modified.
        design: the design, for the names of the sites.
        seed: random seed of the weights.
    """
    bams = [layer for layer in network.modules() if isinstance(layer, BAM)]
    with fork_rng():
        for insertion, bam in zip(design.insertions, bams, strict=True):
            initialise_bam(bam, insertion.site, seed)


@contextmanager
def fork_rng() -> Iterator[None]:
    """Preserve the random state, and leave inference mode so that new weights are trainable."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        yield


def initialise_bam(bam: BAM, site: str, seed: int) -> None:
    """Initialise a BAM from the seed, the site and its hidden width.

    This changes torch's random state: call it inside :func:`fork_rng`.
    """
    key = f"{seed} {site} {hidden_channels(bam.channels, bam.reduction)}"
    torch.default_generator.manual_seed(zlib.crc32(key.encode(errors="surrogatepass")))
    fresh = BAM(
        bam.channels,
        bam.reduction,
        bam.dilation,
        variant=bam.variant,
        init=bam.init,
        layout=bam.layout,
    )
    bam.load_state_dict(fresh.state_dict())
