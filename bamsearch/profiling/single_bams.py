"""Single BAMs with inputs as at their sites, for the latency model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.records import Init, MemoryFormat, Site, Variant


def same_network(site: Site, reduction: int, dilation: int) -> tuple[object, ...]:
    """Key of everything that a single BAM's latency depends on; equal for sites with equal maps."""
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
    """Create each distinct BAM for all sites and options.

    Args:
        sites: sites of the BAMs.
        options: pairs (r, d).
        variant: ``paper`` or ``official``.
        init: ``paper`` or ``identity``.
        memory_format: memory format of the network's input.

    Returns:
        The module and its input shape without the batch, by :func:`same_network`.
    """
    bams: dict[tuple[object, ...], tuple[nn.Module, tuple[int, ...]]] = {}
    for site in sites:
        for reduction, dilation in options:
            key = same_network(site, reduction, dilation)
            if key in bams:
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
            bams[key] = _WithInput(bam, turned), tuple(sizes[axis] or 1 for axis in axes)
    return bams


class _WithInput(nn.Module):
    """BAM with its input prepared as in a network.

    Args:
        bam: the BAM.
        turned: the input is (N, C, H, W) in channels_last, and is permuted to (N, H, W, C), which
            is contiguous: converting an NHWC tensor to channels_last would shuffle its memory. The
            same for clips.
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
