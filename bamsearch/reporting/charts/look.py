"""Appearance of the charts, which are Vega-Lite specifications drawn as SVG.

Colours in a specification are CSS variables, ``var(--chart-ink)``: the HTML page sets them for its
light and dark themes, and its script reads them for the canvas; a standalone file gets the light
ones. No mark is clipped: Vega numbers clip paths per process, so the bytes would differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from bamsearch.reporting.charts.renderer import svg_of

Spec = dict[str, Any]
Marks = dict[str, tuple[str, str]]
"""Colour variable and Vega shape of each kind."""

PALETTE: dict[str, tuple[str, str]] = {
    "chart-back": ("#ffffff", "#16191d"),
    "chart-ink": ("#1b1f24", "#e6e8eb"),
    "chart-muted": ("#57606a", "#a3acb6"),
    "chart-grid": ("#e4e7eb", "#2b3138"),
    "chart-over": ("#f3e6e0", "#33251f"),
    "chart-search": ("#0072b2", "#56b4e9"),
    "chart-random": ("#77808a", "#8a949e"),
    "chart-default": ("#00795a", "#2cc295"),
    "chart-largest": ("#a8528a", "#e2a0c8"),
    "chart-best-random": ("#57606a", "#b6bec7"),
    "chart-found": ("#c24e00", "#ff9a52"),
}
"""CSS variables and their values in the light and the dark theme; after Okabe and Ito (2008)."""

MARKS: Marks = {
    "search": ("chart-search", "circle"),
    "random search": ("chart-random", "cross"),
    "base": ("chart-ink", "circle"),
    "paper default": ("chart-default", "diamond"),
    "largest that fits": ("chart-largest", "triangle-up"),
    "best random": ("chart-best-random", "square"),
    "best design": ("chart-found", "circle"),
}
"""Marks of the kinds of designs, in the order of the legend."""

SERIES = [f"var(--chart-{name})" for name in ("search", "found", "default", "largest", "random")]
"""Colours of several runs."""


_LARGEST = 1e300
_WIDTH, _HEIGHT = 600, 360


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis with fixed ends, in its unit, so that points drawn later do not move them."""

    low: float
    high: float
    title: str

    @classmethod
    def padded(cls, low: float, high: float, title: str) -> Axis:
        """An axis with 5% of its length on both sides."""
        margin = (high - low) * 0.05 or abs(high) * 0.01 or 1.0
        return cls(low - margin, high + margin, title)

    def encoding(self, channel: type[Any]) -> Any:
        """The axis as ``alt.X`` or ``alt.Y``, of the column ``x`` or ``y``."""
        largest = max(abs(self.low), abs(self.high))
        form = "s" if 1e5 <= largest < 1e15 else "" if 1e-4 <= largest < 1e5 else "e"
        return channel(
            f"{'x' if channel is alt.X else 'y'}:Q",
            title=self.title,
            scale=alt.Scale(domain=[self.low, self.high], nice=False, zero=False, clamp=True),
            axis=alt.Axis(format=form) if form else alt.Axis(),
        )


def css(name: str) -> Any:
    """A colour that does not depend on the data, by its name in :data:`PALETTE`."""
    return alt.value(f"var(--chart-{name})")


def marks_of(kinds: Collection[str]) -> Marks:
    """The marks of some kinds of designs, in the order of the legend."""
    return {kind: mark for kind, mark in MARKS.items() if kind in kinds}


def encoded(marks: Marks, column: str = "kind") -> tuple[alt.Color, alt.Shape]:
    """The column as colour and shape, with a legend."""
    colours = [f"var(--{colour})" for colour, _ in marks.values()]
    shapes = [shape for _, shape in marks.values()]
    kinds = list(marks)
    return (
        alt.Color(f"{column}:N", title=None, scale=alt.Scale(domain=kinds, range=colours)),
        alt.Shape(f"{column}:N", title=None, scale=alt.Scale(domain=kinds, range=shapes)),
    )


def on(name: str) -> alt.Chart:
    """A chart of the data set ``name``."""
    return alt.Chart(alt.NamedData(name))


def plottable(value: float | None) -> bool:
    """Whether a chart can show the value; sums and differences of larger ones overflow."""
    return value is not None and abs(value) <= _LARGEST


def layered(layers: Sequence[alt.Chart], datasets: dict[str, list[dict[str, Any]]]) -> Spec:
    """A chart of layers with their data, in the common style."""
    spec: Spec = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT).to_dict()
    spec["datasets"] = {**spec.get("datasets", {}), **datasets}
    return styled(spec)


def styled(spec: Spec) -> Spec:
    """A specification in the common style."""
    return spec | {"background": "var(--chart-back)", "config": _config()}


def empty_spec(text: str) -> Spec:
    """A line of text in place of an empty chart."""
    chart = alt.Chart(alt.InlineData([{}])).mark_text(text=text, fontSize=14, aria=False)
    return layered([chart.encode(color=css("muted"))], {}) | {"height": 60}


def svg(spec: Spec) -> str:
    """A specification as SVG whose colours are CSS variables; see :func:`svg_of`."""
    return svg_of(spec, alt.SCHEMA_VERSION.rsplit(".", 1)[0])


def standalone(text: str) -> str:
    """An SVG with the light colours in place of the variables, for a standalone file."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: PALETTE[match[1]][0], text)


def _config() -> dict[str, Any]:
    ink, muted, grid = (f"var(--chart-{name})" for name in ("ink", "muted", "grid"))
    return {
        "font": "sans-serif",
        "view": {"stroke": None},
        "text": {"fontSize": 11},
        "axis": {
            "labelColor": muted,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "gridColor": grid,
            "domainColor": grid,
            "tickColor": grid,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "tickCount": 6,
            "titlePadding": 8,
        },
        "legend": {
            "orient": "bottom",
            "direction": "horizontal",
            "columns": 4,
            "labelColor": ink,
            "labelFontSize": 12,
            "labelLimit": 0,
            "symbolSize": 70,
            "symbolOpacity": 1,
            "columnPadding": 14,
        },
    }
