"""BAM alone, fed as a network feeds it at a site: what a latency model times."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.records import Init, MemoryFormat, Site, Variant


def same_network(site: Site, reduction: int, dilation: int) -> tuple[object, ...]:
    """What the time of a BAM alone depends on; sites with equal maps share theirs."""
    shape = (site.channels, site.frames, site.height, site.width, site.layout)
    hidden = hidden_channels(site.channels, reduction)
    return (*shape, hidden, effective_dilation(site, dilation))


def bams_alone(
    sites: Sequence[Site],
    options: Sequence[tuple[int, int]],
    *,
    variant: Variant,
    init: Init,
    memory_format: MemoryFormat,
) -> dict[tuple[object, ...], tuple[nn.Module, tuple[int, ...]]]:
    """Each different BAM of sites and options (r, d), and the shape of one map there.

    Args:
        sites: where.
        options: (r, d).
        variant: which BAM.
        init: how it starts.
        memory_format: of the network's input.

    Returns:
        By :func:`same_network`: the module, and the shape of its input without the batch.
    """
    found: dict[tuple[object, ...], tuple[nn.Module, tuple[int, ...]]] = {}
    for site in sites:
        for reduction, dilation in options:
            key = same_network(site, reduction, dilation)
            if key in found:
                continue
            bam = BAM(
                site.channels,
                reduction,
                effective_dilation(site, dilation),
                variant=variant,
                init=init,
                layout=site.layout,
            )
            turned = site.layout[-1] == "C" and memory_format == "channels_last"
            axes = f"C{site.layout[1:-1]}" if turned else site.layout[1:]
            sizes = {"C": site.channels, "T": site.frames, "H": site.height, "W": site.width}
            found[key] = _Fed(bam, turned), tuple(sizes[axis] or 1 for axis in axes)
    return found


class _Fed(nn.Module):
    """BAM given a map as a network gives it.

    Args:
        bam: the BAM.
        turned: the map comes as (N, C, H, W) in channels_last, and is turned into the contiguous
            (N, H, W, C) that it is in memory: channels_last of an NHWC tensor would shuffle it.
            The same for clips.
    """

    def __init__(self, bam: BAM, turned: bool) -> None:
        super().__init__()
        self.bam = bam
        self.turned = turned

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if self.turned else x
        # In a network the map needs a gradient too: half of the backward pass.
        refined: Tensor = self.bam(x.detach().requires_grad_() if self.training else x)
        return refined
