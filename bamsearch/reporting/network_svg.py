"""The picture of a network as SVG.

Each site is a slab whose height shows the resolution of its map and whose thickness shows its
channels, on compressed scales. BAM is a square on the line after its site.

Pages can rely on this: the root has class ``net``. A site is a
``<g class="site" data-site="NAME">``, NAME made printable, with the additional class ``on`` if it
has BAM. It contains ``.map``, the slab; ``.dot``, the mark without BAM; ``.bam``, the mark with
BAM; ``.lead``, the line down from it; and the texts ``.r`` (``r16``) and ``.d`` (``d4``), empty
without BAM. To show another design, toggle ``on`` and set these texts; ``.net-title`` and
``.net-desc`` describe the insertions in words.

Colours are the page's ``--net-ink`` (text, outlines), ``--net-fill`` (slabs), ``--net-bam`` and
``--net-muted``, with defaults for light and dark schemes. A standalone file, or one in an
``<img>``, has a background, so that it is readable on any page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import pow
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rich.cells import cell_len

from bamsearch.records import Site
from bamsearch.reporting.network import NetworkPicture, PlacedSite, shorten
from bamsearch.reporting.text import map_text, shape_text, template_file
from bamsearch.text import printable

# A unit of length is a pixel at full size.
_MARGIN = 16.0
_SLOT = 12.0
"""Gap between slabs, where a BAM's mark is; its r and d are as wide as a thin slab and the gap."""

_AFTER_STAGE, _BEFORE_STAGE = 22.0, 8.0
"""Gap from a stage to the funnel after it, with the mark of its last BAM; gap after a funnel."""

_TALLEST = 170.0
_LOWEST, _THINNEST, _FUNNEL = 24.0, 8.0, 16.0
_NARROW, _WIDE = 720.0, 1080.0
"""Minimum width of the drawing; maximum width up to which slabs are thickened."""

_LONGEST_NAME, _LONGEST_REDUCER = 30, 20
_NAME_CELL, _NOTE_CELL = 7.2, 6.0
"""Approximate width of a character: the layout uses no font."""

_NAMES, _MAPS, _TOP = 46.0, 61.0, 84.0
_AXIS = _TOP + _TALLEST / 2
_R, _D = _TOP + _TALLEST + 20, _TOP + _TALLEST + 32
_BOTTOM = _D + 14


@dataclass(slots=True)
class _Slab:
    """A drawn map; ``placed`` is None for the image, ``x`` is its left edge."""

    placed: PlacedSite | None
    width: float
    height: float
    x: float = 0.0


@dataclass(slots=True)
class _Column:
    """A drawn stage, or the image: two lines of text above adjacent slabs."""

    name: str
    map: str
    slabs: list[_Slab]
    reducer: str = ""

    @property
    def slabs_width(self) -> float:
        return sum(slab.width for slab in self.slabs) + _SLOT * (len(self.slabs) - 1)

    @property
    def text_width(self) -> float:
        """Approximate width of the wider of the two lines."""
        return max(cell_len(self.name) * _NAME_CELL, cell_len(self.map) * _NOTE_CELL)

    @property
    def left(self) -> float:
        return self.slabs[0].x

    @property
    def right(self) -> float:
        return self.slabs[-1].x + self.slabs[-1].width

    def move_to(self, centre: float) -> None:
        """Place the slabs side by side, centred at x = ``centre``."""
        x = centre - self.slabs_width / 2
        for slab in self.slabs:
            slab.x = x
            x += slab.width + _SLOT


def network_svg(picture: NetworkPicture) -> str:
    """The picture as one ``<svg>`` element, for a file or inside a page."""
    columns, width = _lay_out(picture)
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "net",
            "role": "img",
            "viewBox": f"0 0 {_number(width)} {_number(_BOTTOM)}",
            "width": "100%",
            "style": f"--net-width: {_number(width)}px",
        },
    )
    _put(root, "title", {"class": "net-title"}, picture.title)
    _put(root, "desc", {"class": "net-desc"}, picture.description)
    _put(root, "style", {}, "\n" + template_file("network.css"))
    _draw_heading(root, picture, width)
    _draw_flow(root, columns)
    for column in columns:
        centre = (column.left + column.right) / 2
        _text(root, "name", centre, _NAMES, column.name)
        _text(root, "note", centre, _MAPS, column.map)
        for slab in column.slabs:
            _draw_slab(root, slab, is_last=slab is column.slabs[-1])
    indent(root, "")
    return tostring(root, encoding="unicode") + "\n"


def _draw_heading(root: Element, picture: NetworkPicture, width: float) -> None:
    """The network's name on the left and the legend of the marks on the right."""
    cells = int((width - 240) / 6)
    _text(root, "start", _MARGIN, 18, shorten(picture.heading, cells))
    if not picture.stages:
        note = "no site for BAM: the map keeps one resolution"
        _text(root, "note end", width - _MARGIN, 18, note)
        return
    x = width - _MARGIN
    _put(root, "rect", {"class": "bam", "x": x - 194, "y": 10, "width": 9, "height": 9, "rx": 1.5})
    _text(root, "note start", x - 181, 18, "BAM, its r and d")
    _put(root, "circle", {"class": "dot", "cx": x - 84, "cy": 14.5, "r": 1.8})
    _text(root, "note start", x - 77, 18, "site without")


def _draw_flow(root: Element, columns: list[_Column]) -> None:
    """The line of the data flow, and each reduction as a funnel between two stages."""
    for before, after in pairwise(columns):
        x0, x1 = before.right + _AFTER_STAGE, after.left - _BEFORE_STAGE
        y0, y1 = before.slabs[-1].height / 2 - 3, after.slabs[0].height / 2 - 1
        corners = ((x0, -y0), (x1, -y1), (x1, y1), (x0, y0))
        points = " ".join(f"{_number(x)},{_number(_AXIS + y)}" for x, y in corners)
        _put(root, "polygon", {"class": "reduce", "points": points})
        if before.reducer:
            _text(root, "note", (x0 + x1) / 2, _AXIS - y0 - 7, before.reducer)
    if len(columns) == 1:
        return
    end = columns[-1].right + _AFTER_STAGE
    line = {"x1": columns[0].right, "y1": _AXIS, "x2": end, "y2": _AXIS}
    _put(root, "line", {"class": "flow", **line})
    tip = f"M{_number(end + 6)} {_number(_AXIS)}l-7 -3.5v7z"
    _put(root, "path", {"class": "tip", "d": tip})
    _text(root, "note start", end + 11, _AXIS + 3.5, columns[-1].reducer)


def _draw_slab(root: Element, slab: _Slab, *, is_last: bool) -> None:
    """The image, or a site with its marks; the marks after a stage are a little further away."""
    box = {
        "x": slab.x,
        "y": _AXIS - slab.height / 2,
        "width": slab.width,
        "height": slab.height,
        "rx": 2,
    }
    if slab.placed is None:
        _put(root, "rect", {"class": "image", **box})
        return
    site, insertion = slab.placed.site, slab.placed.insertion
    x = slab.x + slab.width + (11 if is_last else _SLOT / 2)
    state = "site" if insertion is None else "site on"
    group = _put(root, "g", {"class": state, "data-site": printable(site.name)})
    _put(group, "title", {}, _site_text(site))
    _put(group, "rect", {"class": "map", **box})
    _put(group, "circle", {"class": "dot", "cx": x, "cy": _AXIS, "r": 1.8})
    _put(group, "line", {"class": "lead", "x1": x, "y1": _AXIS + 6, "x2": x, "y2": _R - 11})
    mark = {"x": x - 4.5, "y": _AXIS - 4.5, "width": 9, "height": 9, "rx": 1.5}
    _put(group, "rect", {"class": "bam", **mark})
    _text(group, "r", x, _R, "" if insertion is None else f"r{insertion.reduction}")
    _text(group, "d", x, _D, "" if insertion is None else f"d{insertion.dilation}")


def _site_text(site: Site) -> str:
    """``layer2, bottleneck, 512×28×28, before layer3``."""
    layout = "" if site.layout in ("NCHW", "NCTHW") else f" {site.layout}"
    before = f", before {site.reducer}" if site.reducer else ""
    return printable(f"{site.name}, {site.kind}, {map_text(site)}{layout}{before}")


def _text(parent: Element, name: str, x: float, y: float, content: str) -> None:
    _put(parent, "text", {"class": name, "x": x, "y": y}, content)


def _put(
    parent: Element, tag: str, attributes: dict[str, str | float], content: str | None = None
) -> Element:
    texts = {
        key: value if isinstance(value, str) else _number(value)
        for key, value in attributes.items()
    }
    element = SubElement(parent, tag, texts)
    element.text = content
    return element


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _lay_out(picture: NetworkPicture) -> tuple[list[_Column], float]:
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


def _columns(picture: NetworkPicture, scale: float) -> Iterator[_Column]:
    shape = picture.summary.part_input
    tallest = max([shape[-2], *(placed.site.height for placed in picture.sites)])

    def slab(placed: PlacedSite | None, channels: int, height: int) -> _Slab:
        # C to the power 0.3: 2048 channels are drawn nearly three times as thick as 64.
        width = max(_THINNEST, scale * 2 * pow(channels, 0.3))
        # H to the power 0.45: a map with 1/32 of the height is drawn 1/5 as high.
        return _Slab(placed, width, max(_LOWEST, _TALLEST * pow(height / tallest, 0.45)))

    yield _Column(picture.input_name, shape_text(shape), [slab(None, shape[0], shape[-2])])
    for stage in picture.stages:
        yield _Column(
            shorten(stage.label, _LONGEST_NAME),
            f"{stage.channels}×{shape_text(stage.sizes)}",
            [slab(placed, placed.site.channels, placed.site.height) for placed in stage.sites],
            shorten(stage.reducer, _LONGEST_REDUCER),
        )


def _spread(columns: list[_Column], extra: float) -> float:
    """Move the columns so that neither slabs nor texts overlap; return the right edge."""
    gap = _AFTER_STAGE + _FUNNEL + _BEFORE_STAGE
    first, last = columns[0], columns[-1]
    centre = _MARGIN + max(first.slabs_width, first.text_width) / 2
    first.move_to(centre)
    for before, column in pairwise(columns):
        slabs = (before.slabs_width + column.slabs_width) / 2 + gap
        texts = (before.text_width + column.text_width) / 2 + 14
        centre += max(slabs, texts) + extra
        column.move_to(centre)
    after = _AFTER_STAGE + 14 + cell_len(last.reducer) * _NOTE_CELL if len(columns) > 1 else 0.0
    return _MARGIN + max(last.right + after, centre + last.text_width / 2)
