"""Numbers and shapes as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10

from bamsearch.records import Site


def shape_text(shape: Sequence[int]) -> str:
    """A shape: ``3×224×224``."""
    return "×".join(str(size) for size in shape)


def map_text(site: Site) -> str:
    """A site's feature map: ``256×56×56``, or ``64×16×56×56`` with its frames."""
    frames = () if site.frames is None else (site.frames,)
    return shape_text((site.channels, *frames, site.height, site.width))


def giga(count: int) -> str:
    """A count in 10^9 with three decimals, more where that shows fewer than two digits."""
    value = count / 1e9
    decimals = 3 if value == 0 else max(3, 1 - floor(log10(value)))
    return f"{value:.{decimals}f}"


def mega(count: int) -> str:
    """A count in 10^6: ``44.549 M``."""
    return f"{count / 1e6:.3f} M"


def change(base: int, now: int) -> str:
    """A relative change: ``+0.81 %``."""
    return f"{(now / base - 1) * 100:+.2f} %" if base else "new"
