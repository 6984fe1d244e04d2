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

from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from bamsearch.records import Site
from bamsearch.reporting.network import NetworkPicture, shorten
from bamsearch.reporting.network_layout import (
    AFTER_STAGE,
    BEFORE_STAGE,
    MARGIN,
    SLOT,
    TALLEST,
    Column,
    Slab,
    lay_out,
)
from bamsearch.reporting.text import map_text
from bamsearch.text import printable

_STYLE = """
.net { --own-ink: var(--net-ink, #1f2328); --own-fill: var(--net-fill, #dce6f2);
  --own-bam: var(--net-bam, #b8400a); --own-muted: var(--net-muted, #626b76);
  display: block; margin: auto; font: 10px system-ui, "Segoe UI", Roboto, Arial, sans-serif }
.net:not(:root) { height: auto; min-width: calc(var(--net-width) * 0.8);
  max-width: calc(var(--net-width) * 1.25) }
.net text { fill: var(--own-ink); text-anchor: middle }
.net .start { text-anchor: start }
.net .end { text-anchor: end }
.net .name { font-size: 12px; font-weight: 600 }
.net .note { fill: var(--own-muted) }
.net .flow { stroke: var(--own-muted); stroke-width: 1.25; fill: none }
.net .tip, .net .dot { fill: var(--own-muted) }
.net .reduce { fill: var(--own-muted); opacity: 0.22 }
.net .map { fill: var(--own-fill); stroke: var(--own-ink); stroke-width: 0.9 }
.net .image { fill: none; stroke: var(--own-muted); stroke-width: 1; stroke-dasharray: 3 2.5 }
.net .bam { fill: var(--own-bam) }
.net .lead { stroke: var(--own-bam); stroke-width: 0.8; stroke-dasharray: 1.5 2.5 }
.net .site .r, .net .site .d { fill: var(--own-bam); font-weight: 600 }
.net .site .bam, .net .site .lead, .net .site .r, .net .site .d { display: none }
.net .on .bam, .net .on .lead, .net .on .r, .net .on .d { display: inline }
.net .on .dot { display: none }
.net:root { color-scheme: light dark; background: #fff }
@media (prefers-color-scheme: dark) {
  .net { --own-ink: var(--net-ink, #e6e9ed); --own-fill: var(--net-fill, #2b3b50);
    --own-bam: var(--net-bam, #ff9f63); --own-muted: var(--net-muted, #98a2ae) }
  .net:root { background: #14181d }
}
"""

_NAMES, _MAPS, _TOP = 46.0, 61.0, 84.0
_AXIS = _TOP + TALLEST / 2
_R, _D = _TOP + TALLEST + 20, _TOP + TALLEST + 32
_BOTTOM = _D + 14


def network_svg(picture: NetworkPicture) -> str:
    """The picture as one ``<svg>`` element, for a file or inside a page."""
    columns, width = lay_out(picture)
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
    _put(root, "style", {}, _STYLE)
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
    _text(root, "start", MARGIN, 18, shorten(picture.heading, cells))
    if not picture.stages:
        note = "no site for BAM: the map keeps one resolution"
        _text(root, "note end", width - MARGIN, 18, note)
        return
    x = width - MARGIN
    _put(root, "rect", {"class": "bam", "x": x - 194, "y": 10, "width": 9, "height": 9, "rx": 1.5})
    _text(root, "note start", x - 181, 18, "BAM, its r and d")
    _put(root, "circle", {"class": "dot", "cx": x - 84, "cy": 14.5, "r": 1.8})
    _text(root, "note start", x - 77, 18, "site without")


def _draw_flow(root: Element, columns: list[Column]) -> None:
    """The line of the data flow, and each reduction as a funnel between two stages."""
    for before, after in pairwise(columns):
        x0, x1 = before.right + AFTER_STAGE, after.left - BEFORE_STAGE
        y0, y1 = before.slabs[-1].height / 2 - 3, after.slabs[0].height / 2 - 1
        corners = ((x0, -y0), (x1, -y1), (x1, y1), (x0, y0))
        points = " ".join(f"{_number(x)},{_number(_AXIS + y)}" for x, y in corners)
        _put(root, "polygon", {"class": "reduce", "points": points})
        if before.reducer:
            _text(root, "note", (x0 + x1) / 2, _AXIS - y0 - 7, before.reducer)
    if len(columns) == 1:
        return
    end = columns[-1].right + AFTER_STAGE
    line = {"x1": columns[0].right, "y1": _AXIS, "x2": end, "y2": _AXIS}
    _put(root, "line", {"class": "flow", **line})
    tip = f"M{_number(end + 6)} {_number(_AXIS)}l-7 -3.5v7z"
    _put(root, "path", {"class": "tip", "d": tip})
    _text(root, "note start", end + 11, _AXIS + 3.5, columns[-1].reducer)


def _draw_slab(root: Element, slab: Slab, *, is_last: bool) -> None:
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
    x = slab.x + slab.width + (11 if is_last else SLOT / 2)
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
