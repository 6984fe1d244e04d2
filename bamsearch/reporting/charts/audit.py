"""The charts of an audit: agreement of scores with training, and accuracy of the designs."""

from __future__ import annotations

from typing import Any

import altair as alt

from bamsearch.records import ANOTHER_SEED, Agreement, Audit, Setting
from bamsearch.reporting.audit import (
    LABELS,
    SETTINGS,
    label,
    mean_ranks,
    score_names,
    score_title,
)
from bamsearch.reporting.charts.look import Spec, css, empty_spec, encoded, styled

Panel = alt.LayerChart | alt.FacetChart

_PANEL, _ROW, _LETTER = 165, 24, 7.5
_MARGIN = 0.04
_SIDE = 250
_IN, _OUT = "in the band", "below it"
_MARKS = {
    _IN: ("chart-found", "circle"),
    _OUT: ("chart-search", "triangle-up"),
    "base": ("chart-ink", "square"),
}


def agreements_spec(audit: Audit) -> Spec:
    """Tau of each score with its interval, one panel per setting; noise as a band behind it."""
    names = [name for name in score_names(audit) if name != ANOTHER_SEED]
    agreements = [
        agreement
        for agreement in audit.agreements
        if agreement.measure == "tau" and agreement.value is not None
    ]
    if not agreements:
        return empty_spec("no results yet")
    ends = [
        x
        for agreement in agreements
        for x in (agreement.value, agreement.low, agreement.high)
        if x is not None
    ]
    domain = [min(-0.2, *ends) - _MARGIN, max(1.0, *ends) + _MARGIN]
    panels = [
        _panel(audit, setting, names, domain, first=not at) for at, setting in enumerate(SETTINGS)
    ]
    return _finished(alt.hconcat(*panels, spacing=14))


def _panel(
    audit: Audit, setting: Setting, names: list[str], domain: list[float], *, first: bool
) -> Panel:
    rows = [
        _row(agreement)
        for name in names
        if (agreement := audit.agreement(name, setting)) is not None
    ]
    scale = alt.Scale(domain=domain, nice=False)
    x = alt.X(
        "value:Q",
        title="Kendall's tau-b",
        scale=scale,
        axis=alt.Axis(values=[0, 0.5, 1], format=".1f"),
    )
    # Room for the longest label, in whatever font the page has.
    room = max(map(len, map(label, names))) * _LETTER if first else 0
    axis = alt.Axis(
        grid=False, ticks=False, domain=False, labels=first, labelLimit=0, minExtent=room
    )
    y = alt.Y("score:N", title=None, sort=[label(name) for name in names], axis=axis)
    colour = alt.Color(
        "trains:N",
        scale=alt.Scale(domain=[False, True], range=["var(--chart-search)", "var(--chart-found)"]),
        legend=None,
    )
    chart, zero = _chart(rows), _chart([{"value": 0}])
    layers = [
        *_noise(audit, setting, x, scale),
        zero.mark_rule(strokeWidth=1, aria=False).encode(x, color=css("muted")),
        chart.mark_rule(strokeWidth=2, aria=False).encode(
            alt.X("low:Q", scale=scale), y, colour, x2="high:Q"
        ),
        chart.mark_point(filled=True, size=60, opacity=1, aria=False).encode(x, y, colour),
    ]
    panel: Panel = alt.layer(*layers).properties(
        width=_PANEL, height=_ROW * len(names), title=SETTINGS[setting]
    )
    return panel


def _noise(audit: Audit, setting: Setting, x: alt.X, scale: alt.Scale) -> list[alt.Chart]:
    """Agreement of two seeds as a band, and the noise ceiling as a dashed line."""
    layers = []
    other = audit.agreement(ANOTHER_SEED, setting)
    if other is not None and other.value is not None and other.low is not None:
        chart = _chart([{"value": other.value, "low": other.low, "high": other.high}])
        band = chart.mark_rect(aria=False).encode(
            alt.X("low:Q", scale=scale), x2="high:Q", color=css("over")
        )
        line = chart.mark_rule(strokeWidth=1.5, aria=False)
        layers += [band, line.encode(x, color=css("muted"))]
    ceiling = audit.ceiling(setting)
    if ceiling is not None and ceiling.highest_tau is not None:
        chart = _chart([{"value": round(ceiling.highest_tau, 4)}])
        line = chart.mark_rule(strokeWidth=1.5, strokeDash=[4, 3], aria=False)
        layers.append(line.encode(x, color=css("default")))
    return layers


def _row(agreement: Agreement) -> dict[str, Any]:
    return {
        "score": label(agreement.score),
        "value": agreement.value,
        "low": agreement.low,
        "high": agreement.high,
        "trains": agreement.score in LABELS,
    }


def scatter_spec(audit: Audit) -> Spec:
    """Accuracy of each design against its parameters, and against the best zero-cost score."""
    shown = [audited for audited in audit.designs if audited.mean is not None]
    rows: list[dict[str, Any]] = [
        {
            "size": audited.params / 1e6,
            "accuracy": audited.mean,
            "low": min(value for value in audited.accuracies if value is not None),
            "high": max(value for value in audited.accuracies if value is not None),
            "where": _IN if audited.in_band else _OUT if audited.insertions else "base",
        }
        for audited in shown
    ]
    if not rows:
        return empty_spec("no training has finished yet")
    panels = [_scatter(rows, "size", "parameters, M", first=True)]
    name = next((n for n in score_names(audit) if n not in (*LABELS, "params")), None)
    if name is not None:
        # A score cannot rank the base.
        inserted = [audited for audited in shown if audited.insertions]
        values = mean_ranks(inserted, name)
        inserted_rows = [row for row in rows if row["where"] != "base"]
        scored = [
            row | {"score": value}
            for row, value in zip(inserted_rows, values, strict=True)
            if value is not None
        ]
        panels.append(_scatter(scored, "score", name + score_title(audit, name), first=False))
    return _finished(alt.hconcat(*panels, spacing=30))


def _scatter(rows: list[dict[str, Any]], column: str, title: str, *, first: bool) -> Panel:
    keys = (column, "accuracy", "low", "high", "where")
    chart = _chart([{key: row[key] for key in keys} for row in rows])
    zero = alt.Scale(zero=False)
    x = alt.X(f"{column}:Q", title=title, scale=zero, axis=alt.Axis(tickCount=4))
    shown = "accuracy, %: mean and range over seeds" if first else None
    y = alt.Y("accuracy:Q", title=shown, scale=zero)
    colour, shape = encoded(_MARKS, "where")
    bars = chart.mark_rule(strokeWidth=1, opacity=0.5, aria=False)
    points = chart.mark_point(filled=True, size=45, opacity=0.95, aria=False)
    panel: Panel = alt.layer(
        bars.encode(x, alt.Y("low:Q", title=shown, scale=zero), colour, y2="high:Q"),
        points.encode(x, y, colour, shape),
    ).properties(width=_SIDE, height=_SIDE)
    return panel


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(rows))


def _finished(chart: alt.HConcatChart) -> Spec:
    spec = styled(chart.to_dict())
    spec["config"]["title"] = {
        "color": "var(--chart-ink)",
        "fontSize": 12,
        "fontWeight": "normal",
        "anchor": "start",
    }
    return spec
