"""Layout of the picture of a network; a unit of length is a pixel at full size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import pow

from rich.cells import cell_len

from bamsearch.reporting.network import NetworkPicture, PlacedSite, shorten
from bamsearch.reporting.text import shape_text

MARGIN = 16.0
SLOT = 12.0
"""Gap between slabs, where a BAM's mark is; its r and d are as wide as a thin slab and the gap."""

AFTER_STAGE, BEFORE_STAGE = 22.0, 8.0
"""Gap from a stage to the funnel after it, with the mark of its last BAM; gap after a funnel."""

TALLEST = 170.0
_LOWEST, _THINNEST, _FUNNEL = 24.0, 8.0, 16.0
_NARROW, _WIDE = 720.0, 1080.0
"""Minimum width of the drawing; maximum width up to which slabs are thickened."""

_LONGEST_NAME, _LONGEST_REDUCER = 30, 20
_NAME_CELL, _NOTE_CELL = 7.2, 6.0
"""Approximate width of a character: the layout uses no font."""


@dataclass(slots=True)
class Slab:
    """A drawn map; ``placed`` is None for the image, ``x`` is its left edge."""

    placed: PlacedSite | None
    width: float
    height: float
    x: float = 0.0


@dataclass(slots=True)
class Column:
    """A drawn stage, or the image: two lines of text above adjacent slabs."""

    name: str
    map: str
    slabs: list[Slab]
    reducer: str = ""

    @property
    def slabs_width(self) -> float:
        """From the first slab's left edge to the last one's right edge."""
        return sum(slab.width for slab in self.slabs) + SLOT * (len(self.slabs) - 1)

    @property
    def text_width(self) -> float:
        """Approximate width of the wider of the two lines."""
        return max(cell_len(self.name) * _NAME_CELL, cell_len(self.map) * _NOTE_CELL)

    @property
    def left(self) -> float:
        """Left edge of the first slab."""
        return self.slabs[0].x

    @property
    def right(self) -> float:
        """Right edge of the last slab."""
        return self.slabs[-1].x + self.slabs[-1].width

    def move_to(self, centre: float) -> None:
        """Place the slabs side by side, centred at x = ``centre``."""
        x = centre - self.slabs_width / 2
        for slab in self.slabs:
            slab.x = x
            x += slab.width + SLOT


def lay_out(picture: NetworkPicture) -> tuple[list[Column], float]:
    """The columns at their positions, and the width of the drawing."""
    for scale in (3.0, 2.5, 2.0, 1.5, 1.0):
        columns = list(_columns(picture, scale))
        width = _spread(columns, 0.0)
        if width <= _WIDE:
            break
    if width < _NARROW:
        # The gaps between the columns and the one after the last.
        width = _spread(columns, (_NARROW - width) / len(columns))
    return columns, max(width, _NARROW)


def _columns(picture: NetworkPicture, scale: float) -> Iterator[Column]:
    summary = picture.summary
    shape = summary.part_input
    tallest = max([shape[-2], *(placed.site.height for placed in picture.sites)])
    image = "input" if summary.part else "image" if len(shape) == 3 else "clip"
    slab = Slab(None, _thickness(shape[0], scale), _height(shape[-2], tallest))
    yield Column(image, shape_text(shape), [slab])
    for stage in picture.stages:
        yield Column(
            shorten(stage.label, _LONGEST_NAME),
            f"{stage.channels}×{shape_text(stage.sizes)}",
            [
                Slab(
                    placed,
                    _thickness(placed.site.channels, scale),
                    _height(placed.site.height, tallest),
                )
                for placed in stage.sites
            ],
            shorten(stage.reducer, _LONGEST_REDUCER),
        )


def _spread(columns: list[Column], extra: float) -> float:
    """Move the columns so that neither slabs nor texts overlap; return the right edge."""
    gap = AFTER_STAGE + _FUNNEL + BEFORE_STAGE
    first, last = columns[0], columns[-1]
    centre = MARGIN + max(first.slabs_width, first.text_width) / 2
    first.move_to(centre)
    for before, column in pairwise(columns):
        slabs = (before.slabs_width + column.slabs_width) / 2 + gap
        texts = (before.text_width + column.text_width) / 2 + 14
        centre += max(slabs, texts) + extra
        column.move_to(centre)
    after = AFTER_STAGE + 14 + cell_len(last.reducer) * _NOTE_CELL if len(columns) > 1 else 0.0
    return MARGIN + max(last.right + after, centre + last.text_width / 2)


def _height(size: int, tallest: int) -> float:
    """H to the power 0.45: a map with 1/32 of the height is drawn 1/5 as high."""
    return max(_LOWEST, TALLEST * pow(size / tallest, 0.45))


def _thickness(channels: int, scale: float) -> float:
    """C to the power 0.3: 2048 channels are drawn nearly three times as thick as 64."""
    return max(_THINNEST, scale * 2 * pow(channels, 0.3))
