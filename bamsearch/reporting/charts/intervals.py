"""Charts of estimates with intervals: effects around 0, and designs by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import altair as alt

from bamsearch.reporting.charts.data import plottable
from bamsearch.reporting.charts.pareto_and_ranking import Spec, empty_spec, layered, standalone, svg
from bamsearch.reporting.training_effects import Ranked, TrainingEffects, effect_text

TOP = 10
"""Designs of the ranking that are shown, in addition to those with a role."""

EFFECTS = 20
"""Number of effects that are shown; the largest ones."""

_WIDTH, _STEP = 260, 24
_LABEL, _LETTER = 160, 6.6

_ROLES = {
    "found": "chart-found",
    "base": "chart-ink",
    "paper default": "chart-default",
    "largest that fits": "chart-largest",
}


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of such a chart; ``colour`` is that of the line, ``fill`` that of the dot."""

    label: str
    value: float
    low: float
    high: float
    colour: str
    fill: str


def effects_page_svg(training_effects: TrainingEffects) -> str:
    """Effects in points as SVG with CSS variables; hollow dots are not distinguishable from 0."""
    dots = []
    for effect in training_effects.effects[:EFFECTS]:
        colour = "var(--chart-search)" if effect.distinguished else "var(--chart-muted)"
        fill = colour if effect.distinguished else "var(--chart-back)"
        dots.append(Dot(effect_text(effect), effect.points, effect.low, effect.high, colour, fill))
    return svg(_spec(dots, "points of accuracy", 0.0))


def ranking_page_svg(training_effects: TrainingEffects) -> str:
    """Expected accuracies by rank, with a line at the base's, as SVG with CSS variables."""
    dots = [_ranked(ranked) for ranked in training_effects.top(TOP)]
    base = next(
        (
            ranked.estimate.mean
            for ranked in training_effects.ranking
            if not ranked.estimate.insertions
        ),
        None,
    )
    return svg(_spec(dots, "expected accuracy, %", base))


def effects_svg(training_effects: TrainingEffects) -> str:
    """The effects as a standalone SVG in light colours."""
    return standalone(effects_page_svg(training_effects))


def ranking_svg(training_effects: TrainingEffects) -> str:
    """The ranking as a standalone SVG in light colours."""
    return standalone(ranking_page_svg(training_effects))


def _ranked(ranked: Ranked) -> Dot:
    colour = f"var(--{_ROLES.get(ranked.role, 'chart-search')})"
    value = ranked.estimate
    return Dot(ranked.label, value.mean, value.low, value.high, colour, colour)


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
    rows = alt.Chart(alt.NamedData("dots"))
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
        rule = alt.Chart(alt.NamedData("line")).mark_rule(strokeDash=[4, 3], aria=False)
        layers.insert(0, rule.encode(x, color=alt.value("var(--chart-muted)")))
    marked = [{"value": value} for value in lines]
    spec = layered(layers, {"dots": [asdict(dot) for dot in dots], "line": marked})
    return spec | {"width": _WIDTH, "height": {"step": _STEP}}
