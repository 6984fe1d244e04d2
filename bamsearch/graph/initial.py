"""The weights that BAM starts with, such that two designs can be compared."""

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
    """Give each BAM the weights of the seed, its site and its hidden width alone.

    So two designs that share a site share its weights: at every dilation, beside whatever other
    BAMs, on every device. What differs between their results comes from what differs between them.

    Args:
        network: of the design; its BAMs are changed, and nothing else.
        design: names the sites.
        seed: of the weights.
    """
    bams = [layer for layer in network.modules() if isinstance(layer, BAM)]
    with undisturbed():
        for insertion, bam in zip(design.insertions, bams, strict=True):
            initialise_bam(bam, insertion.site, seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the caller's random numbers, and make weights that can learn in inference mode too."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        yield


def initialise_bam(bam: BAM, site: str, seed: int) -> None:
    """Give one BAM the weights of the seed, the site and its hidden width.

    torch's random numbers are moved: call it inside :func:`undisturbed`.
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
