"""Appearance of the charts: colours of both themes, a mark per kind of design, axes, legends."""

from __future__ import annotations

from typing import Any

from bamsearch.reporting.charts.data import PointKind

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

MARKS: dict[PointKind, tuple[str, str]] = {
    "search": ("chart-search", "circle"),
    "random search": ("chart-random", "cross"),
    "base": ("chart-ink", "circle"),
    "paper default": ("chart-default", "diamond"),
    "largest that fits": ("chart-largest", "triangle-up"),
    "best random": ("chart-best-random", "square"),
    "best design": ("chart-found", "circle"),
}
"""Colour variable and Vega shape of each kind, in the order of the legend."""

SERIES = [f"var(--chart-{name})" for name in ("search", "found", "default", "largest", "random")]
"""Colours of several runs."""


def config() -> dict[str, Any]:
    """Vega-Lite's configuration of all charts."""
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
