"""The charts of a report, as Vega-Lite specifications and as SVG.

Colours in a specification are CSS variables, ``var(--chart-ink)``: the HTML page sets them for its
light and dark themes, and its script reads them for the canvas; a standalone file gets the light
ones. No mark is clipped: Vega numbers clip paths per process, so the bytes would differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import altair as alt

from bamsearch.reporting.charts.data import (
    TITLES,
    Axis,
    ParetoData,
    Point,
    PointKind,
    curve_points,
    limit_text,
    pareto_data,
    plottable,
    thinned,
)
from bamsearch.reporting.charts.look import MARKS, PALETTE, SERIES, config
from bamsearch.reporting.charts.renderer import svg_of
from bamsearch.reporting.content import Report

Spec = dict[str, Any]

_COUNTS = alt.Axis(format=",d", tickMinStep=1)
_MANY = 2000
"""More points than this overlap and are drawn fainter."""

_WIDTH, _HEIGHT = 600, 360


def pareto_svg(report: Report) -> str:
    """All scored designs, the front and the budget: a standalone SVG in light colours."""
    return standalone(pareto_page_svg(report))


def curve_svg(report: Report) -> str:
    """The best score so far of the search and of random search: a standalone SVG."""
    return standalone(svg(curve_spec(report)))


def pareto_page_svg(report: Report) -> str:
    """The Pareto chart as SVG whose colours are CSS variables."""
    data = pareto_data(report)
    if data is None:
        return svg(empty_spec("nothing has a score yet"))
    spec = pareto_spec(data)
    spec["datasets"]["trials"] = _rows(thinned(data.trials))
    return svg(spec)


def pareto_spec(data: ParetoData) -> Spec:
    """The Pareto chart; the data sets ``trials`` and ``chosen`` are empty."""
    x = _axis(alt.X, data.x)
    y = _axis(alt.Y, data.y)
    kinds = [kind for kind in MARKS if any(p.kind == kind for p in (*data.trials, *data.marked))]
    look = _look(kinds)
    many = len(data.trials) > _MANY
    layers = [
        *_budget_layers(data, x),
        _on("trials")
        .mark_point(size=26, opacity=0.35 if many else 0.65, filled=True, aria=False)
        .encode(x, y, *look),
        _on("front")
        .mark_point(size=26, filled=True, opacity=1, aria=False)
        .encode(x, y, color=alt.value("var(--chart-found)")),
        _on("marked")
        .mark_point(size=130, strokeWidth=2, opacity=1, fill="var(--chart-back)", aria=False)
        .encode(x, y, *look),
        _on("found")
        .mark_point(size=190, filled=True, opacity=1, aria=False)
        .encode(x, y, color=alt.value("var(--chart-found)")),
        _on("found")
        .mark_text(text="1", fontWeight="bold", aria=False)
        .encode(x, y, color=alt.value("var(--chart-back)")),
        _on("chosen")
        .mark_point(size=420, strokeWidth=2.5, filled=False, opacity=1, aria=False)
        .encode(x, y, color=alt.value("var(--chart-ink)")),
    ]
    if data.joined:
        line = _on("front").mark_line(interpolate="step-after", strokeWidth=1.5, aria=False)
        layers.insert(-5, line.encode(x, y, color=alt.value("var(--chart-found)")))
    best = [point for point in data.marked if point.kind == "best design"]
    baselines = [point for point in data.marked if point.kind != "best design"]
    return layered(
        layers,
        {
            "trials": [],
            "front": _rows(data.front),
            "marked": _rows(baselines),
            "found": _rows(best),
            "chosen": [],
        },
    )


def curve_spec(report: Report) -> Spec:
    """The best score so far against the number of trials."""
    points = curve_points(report.curves)
    if not points:
        return empty_spec("nothing has a score yet")
    ys = [point.y for point in points]
    margin = (max(ys) - min(ys)) * 0.05 or abs(max(ys)) * 0.01 or 1.0
    x = alt.X(
        "x:Q",
        title="designs tried" if report.curves.what == "score" else "trials",
        axis=_COUNTS,
        scale=alt.Scale(domain=[0, max(p.x for p in points)]),
    )
    y = _axis(
        alt.Y,
        Axis("score", min(ys) - margin, max(ys) + margin),
        f"best {report.curves.what} so far",
    )
    kinds = [kind for kind in MARKS if any(point.kind == kind for point in points)]
    line = _on("curves").mark_line(interpolate="step-after", strokeWidth=2, aria=False)
    dash = alt.StrokeDash(
        "kind:N", title=None, scale=alt.Scale(domain=kinds, range=[[1, 0], [5, 3]][: len(kinds)])
    )
    return layered([line.encode(x, y, _colour(kinds), dash)], {"curves": _rows(points)})


def curves_svg(reports: Sequence[Report]) -> str:
    """The best scores so far of several runs: a standalone SVG."""
    return standalone(svg(curves_spec(reports)))


def curves_spec(reports: Sequence[Report]) -> Spec:
    """Best scores so far, as a share of the best score of each run's random search.

    Args:
        reports: reports of the runs; a run is left out if it has no random search, or if the best
            score of that search is not above 0.
    """
    rows = []
    for report in reports:
        best = next(iter(report.curves.random[-1:]), None)
        if best is not None and best > 0:
            rows += [
                {"x": point.x, "y": point.y / best, "run": report.place}
                for point in curve_points(report.curves)
                if point.kind == "search" and plottable(point.y / best)
            ]
    if not rows:
        return empty_spec("no run has a random search to compare with")
    encoding = {
        "x": alt.X("x:Q", title="designs tried", axis=_COUNTS),
        "y": alt.Y("y:Q", title="best score / best random", scale=alt.Scale(zero=False)),
        "color": alt.Color("run:N", title=None, scale=alt.Scale(range=SERIES)),
        "strokeDash": alt.StrokeDash("run:N", title=None),
    }
    line = _on("curves").mark_line(interpolate="step-after", strokeWidth=2, aria=False)
    return layered([line.encode(**encoding)], {"curves": rows})


def layered(layers: Sequence[alt.Chart], datasets: dict[str, list[dict[str, Any]]]) -> Spec:
    """A chart of layers with their data, in the common style."""
    chart = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    spec: Spec = chart.to_dict()
    spec["datasets"] = {**spec.get("datasets", {}), **datasets}
    spec["background"] = "var(--chart-back)"
    spec["config"] = config()
    return spec


def svg(spec: Spec) -> str:
    """A specification as SVG whose colours are CSS variables; see :func:`svg_of`."""
    return svg_of(spec, alt.SCHEMA_VERSION.rsplit(".", 1)[0])


def standalone(text: str) -> str:
    """An SVG with the light colours in place of the variables, for a standalone file."""
    return re.sub(r"var\(--([\w-]+)\)", lambda match: PALETTE[match[1]][0], text)


def _budget_layers(data: ParetoData, x: alt.X) -> list[alt.Chart]:
    if data.limit is None:
        return []
    over = alt.InlineData([{"x": data.limit, "end": data.x.high}])
    chart = alt.Chart(over)
    ink = alt.value("var(--chart-muted)")
    label = chart.mark_text(
        text=f"over the budget, {limit_text(data.limit)}",
        angle=270,
        align="left",
        baseline="top",
        dx=6,
        dy=4,
        aria=False,
    )
    return [
        chart.mark_rect(aria=False).encode(x, x2="end:Q", color=alt.value("var(--chart-over)")),
        chart.mark_rule(strokeWidth=1.5, aria=False).encode(x, color=ink),
        label.encode(x, y=alt.value("height"), color=ink),
    ]


def _on(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name))


def _look(kinds: Sequence[PointKind]) -> tuple[alt.Color, alt.Shape]:
    shapes = [MARKS[kind][1] for kind in kinds]
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=shapes))
    return _colour(kinds), shape


def _colour(kinds: Sequence[PointKind]) -> alt.Color:
    colours = [f"var(--{MARKS[kind][0]})" for kind in kinds]
    return alt.Color("kind:N", title=None, scale=alt.Scale(domain=list(kinds), range=colours))


def _axis(channel: type[Any], axis: Axis, title: str | None = None) -> Any:
    """An encoding with fixed ends, so that points drawn later do not move them."""
    largest = max(abs(axis.low), abs(axis.high))
    form = "s" if 1e5 <= largest < 1e15 else "" if 1e-4 <= largest < 1e5 else "e"
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False, clamp=True)
    options = alt.Axis(format=form) if form else alt.Axis()
    return channel(
        f"{'x' if channel is alt.X else 'y'}:Q",
        title=title or axis.title or TITLES[axis.objective],
        scale=scale,
        axis=options,
    )


def _rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    return [asdict(point) for point in points]


def empty_spec(text: str) -> Spec:
    """A line of text in place of an empty chart."""
    chart = alt.Chart(alt.InlineData([{}])).mark_text(text=text, fontSize=14, aria=False)
    spec = layered([chart.encode(color=alt.value("var(--chart-muted)"))], {})
    return spec | {"height": 60}
