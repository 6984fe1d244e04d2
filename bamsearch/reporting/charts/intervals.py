"""Charts of estimates with intervals: effects around 0, and designs by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import altair as alt

from bamsearch.reporting.charts.look import MARKS, Spec, css, empty_spec, layered, on, plottable
from bamsearch.reporting.tables import EFFECTS, TOP
from bamsearch.reporting.training_effects import TrainingEffects, effect_text

_WIDTH, _STEP = 260, 24
_LABEL, _LETTER = 160, 6.6


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of such a chart; ``colour`` is that of the line, ``fill`` that of the dot."""

    label: str
    value: float
    low: float
    high: float
    colour: str
    fill: str


def effects_spec(training_effects: TrainingEffects) -> Spec:
    """Effects in points; hollow dots are not distinguishable from 0."""
    dots = []
    for effect in training_effects.effects[:EFFECTS]:
        colour = "var(--chart-search)" if effect.distinguished else "var(--chart-muted)"
        fill = colour if effect.distinguished else "var(--chart-back)"
        dots.append(Dot(effect_text(effect), effect.points, effect.low, effect.high, colour, fill))
    return _spec(dots, "points of accuracy", 0.0)


def ranking_spec(training_effects: TrainingEffects) -> Spec:
    """Expected accuracies by rank, with a line at the base's."""
    dots = []
    for ranked in training_effects.top(TOP):
        colour = f"var(--{MARKS[ranked.kind or 'search'][0]})"
        value = ranked.estimate
        dots.append(Dot(ranked.label, value.mean, value.low, value.high, colour, colour))
    estimates = (ranked.estimate for ranked in training_effects.ranking)
    base = next((estimate.mean for estimate in estimates if not estimate.insertions), None)
    return _spec(dots, "expected accuracy, %", base)


def _spec(dots: Sequence[Dot], title: str, line: float | None) -> Spec:
    """One row per dot, from the top; a dashed line at one value."""
    dots = [dot for dot in dots if all(map(plottable, (dot.value, dot.low, dot.high)))]
    lines = [line] if line is not None and plottable(line) else []
    if not dots:
        return empty_spec("nothing can be drawn")
    ends = [*lines, *(end for dot in dots for end in (dot.low, dot.high))]
    margin = (max(ends) - min(ends)) * 0.04 or 1.0
    scale = alt.Scale(domain=[min(ends) - margin, max(ends) + margin], nice=False, zero=False)
    axis = alt.Axis(tickCount=5)
    # The page's font may be wider than the one that lays out the chart.
    room = min(max(len(dot.label) for dot in dots) * _LETTER, 1.2 * _LABEL) + 10
    labels = alt.Axis(labelLimit=_LABEL, minExtent=room, grid=False)
    y = alt.Y("label:N", sort=None, title=None, axis=labels)
    rows = on("dots")
    x = alt.X("value:Q", title=title, scale=scale, axis=axis)
    colour = alt.Color("colour:N", scale=None)
    layers = [
        rows.mark_rule(strokeWidth=2, aria=False).encode(
            alt.X("low:Q", title=title, scale=scale, axis=axis), y, colour, x2="high:Q"
        ),
        rows.mark_point(size=70, strokeWidth=2, opacity=1, aria=False).encode(
            x, y, colour, fill=alt.Fill("fill:N", scale=None)
        ),
    ]
    if lines:
        rule = on("line").mark_rule(strokeDash=[4, 3], aria=False)
        layers.insert(0, rule.encode(x, color=css("muted")))
    marked = [{"value": value} for value in lines]
    spec = layered(layers, {"dots": [asdict(dot) for dot in dots], "line": marked})
    return spec | {"width": _WIDTH, "height": {"step": _STEP}}
