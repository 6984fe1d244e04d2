"""The Pareto chart: all designs by score and cost, the front and the budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import altair as alt

from bamsearch.records import Objective, Trial
from bamsearch.reporting.charts import look
from bamsearch.reporting.comparison import SHORT_LABELS, trial_of
from bamsearch.reporting.content import Report
from bamsearch.reporting.run_statistics import random_trials
from bamsearch.reporting.text import EXPECTED, count_text

UNITS: dict[Objective, float] = {"score": 1, "gflops": 1e9, "params": 1e6, "ms": 1}
"""Divisors of a trial's values on an axis."""

TITLES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs (1 MAC = 1 FLOP, fvcore)",
    "params": "parameters, M",
    "ms": "predicted milliseconds",
}

_MANY, _FAINT = 3000, 2000
"""More points are thinned in a still drawing; more than 2,000 overlap and are drawn fainter."""

_FEW = 0.02
"""Share of designs that may lie off the scale if they would take up more than half of it."""


@dataclass(frozen=True, slots=True)
class Point:
    """A design in the chart; ``kind`` sets its colour and mark."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ParetoData:
    """The Pareto chart.

    Attributes:
        x: cost of a design.
        y: the score.
        limit: budget of x, in the axis' unit; None without one, or if it is off the scale.
        trials: all designs with a score; those of the search are last, and so on top.
        front: Pareto front, the cheapest first; ``kind`` is ``best design`` for all.
        joined: whether the front is a line; with three objectives it is not one in two dimensions.
        marked: the baselines and the best design.
        notes: sentences on what is off the scale.
    """

    x: look.Axis
    y: look.Axis
    limit: float | None
    trials: tuple[Point, ...]
    front: tuple[Point, ...]
    joined: bool
    marked: tuple[Point, ...]
    notes: tuple[str, ...]


def point_of(kind: str, trial: Trial | None, cost: Objective) -> Point | None:
    """A trial's point; None without a score or a value on the other axis."""
    if trial is None or not look.plottable(trial.score) or not look.plottable(trial.cost(cost)):
        return None
    return Point(kind, trial.cost(cost) / UNITS[cost], trial.cost("score"))


def pareto_data(report: Report) -> ParetoData | None:
    """The Pareto chart of a report; None if nothing has a score."""
    record, cost = report.record, report.cost

    def points(kind: str, trials: Iterable[Trial | None]) -> list[Point]:
        return [p for trial in trials if (p := point_of(kind, trial, cost)) is not None]

    trials = [
        *points("random search", record.designs(random_trials(record))),
        *points("search", record.designs(record.trials)),
    ]
    marked = [
        point
        for row in report.comparison
        for point in points(SHORT_LABELS[row.role], [trial_of(record, row.role)])
    ]
    front = sorted(points("best design", report.front), key=lambda point: (point.x, point.y))
    if not trials and not marked:
        return None
    limits = [b.limit / _limit_unit(cost) for b in record.run.budgets if b.quantity == cost]
    x, limit, notes = _cost_axis(cost, trials, marked, next(iter(limits), None))
    y, below = _score_axis(trials, marked)
    y = replace(y, title=EXPECTED) if report.trained else y
    joined = len(report.axes) == 2
    if not joined:
        notes.append("The front has three objectives, so it is not a line in this chart.")
    return ParetoData(
        x, y, limit, tuple(trials), tuple(front), joined, tuple(marked), (*below, *notes)
    )


def limit_text(limit: float) -> str:
    """A budget in its axis' unit: ``8.000``, ``0.00012``."""
    return f"{limit:.3f}" if limit >= 0.1 else f"{limit:.3g}"


def thinned(points: Sequence[Point]) -> list[Point]:
    """Many points without those that would overlap another of their kind.

    Args:
        points: up to 3,000 stay as they are; more are thinned to one per cell of a 60 × 40 grid.
    """
    if len(points) <= _MANY:
        return list(points)
    xs, ys = [p.x for p in points], [p.y for p in points]
    across = (max(xs) - min(xs)) / 60 or 1.0
    up = (max(ys) - min(ys)) / 40 or 1.0
    cells = {(p.kind, round(p.x / across), round(p.y / up)): p for p in points}
    return list(cells.values())


def _limit_unit(cost: Objective) -> float:
    # A time budget is in nanoseconds, a trial's time in milliseconds.
    return 1e6 if cost == "ms" else UNITS[cost]


def _cost_axis(
    cost: Objective, trials: Sequence[Point], marked: Sequence[Point], limit: float | None
) -> tuple[look.Axis, float | None, list[str]]:
    """The axis, the limit if it is on the axis, and otherwise a note."""
    values = [point.x for point in trials] or [point.x for point in marked]
    low, high, notes = _widened(min(values), max(values), [(p.kind, p.x) for p in marked])
    span = (high - low) or abs(high) * 0.01 or 1.0
    if limit is not None and not low - span <= limit <= high + span:
        notes.append(f"The budget, {limit_text(limit)}, is off the scale.")
        limit = None
    if limit is not None:
        # The padding beyond the limit is shaded.
        low, high = min(low, limit), max(high, limit)
    return look.Axis.padded(low, high, TITLES[cost]), limit, notes


def _score_axis(trials: Sequence[Point], marked: Sequence[Point]) -> tuple[look.Axis, list[str]]:
    scores = sorted(point.y for point in trials) or [point.y for point in marked]
    low, high = scores[0], scores[-1]
    most = scores[int(len(scores) * _FEW)]
    if high - most < (high - low) / 2:
        low = most
    low, high, notes = _widened(low, high, [(p.kind, p.y) for p in marked])
    axis = look.Axis.padded(low, high, TITLES["score"])
    below = sum(score < axis.low for score in scores)
    if below:
        notes.append(f"{count_text(below, 'design')} below the scale, drawn at its edge.")
    return axis, notes


def _widened(
    low: float, high: float, marked: Iterable[tuple[str, float]]
) -> tuple[float, float, list[str]]:
    """Ends that include all marked points; not the base if it would take up over half the scale."""
    notes = []
    # The base last: whether it is far off depends on all the other points.
    for kind, value in sorted(marked, key=lambda mark: mark[0] == "base"):
        span = high - low
        wide = max(high, value) - min(low, value)
        if kind == "base" and span > 0 and wide > 2 * span:
            notes.append("The base is off the scale, drawn at its edge.")
        else:
            low, high = min(low, value), max(high, value)
    return low, high, notes


def still_spec(report: Report) -> look.Spec:
    """The Pareto chart with its points, thinned."""
    data = pareto_data(report)
    if data is None:
        return look.empty_spec("nothing has a score yet")
    spec = pareto_spec(data)
    spec["datasets"]["trials"] = rows_of(thinned(data.trials))
    return spec


def pareto_spec(data: ParetoData) -> look.Spec:
    """The Pareto chart; the data sets ``trials`` and ``chosen`` are empty."""
    x, y = data.x.encoding(alt.X), data.y.encoding(alt.Y)
    channels = look.encoded(look.marks_of({point.kind for point in (*data.trials, *data.marked)}))
    many = len(data.trials) > _FAINT
    layers = [
        *_budget_layers(data, x),
        look.on("trials")
        .mark_point(size=26, opacity=0.35 if many else 0.65, filled=True, aria=False)
        .encode(x, y, *channels),
        look.on("front")
        .mark_point(size=26, filled=True, opacity=1, aria=False)
        .encode(x, y, color=look.css("found")),
        look.on("marked")
        .mark_point(size=130, strokeWidth=2, opacity=1, fill="var(--chart-back)", aria=False)
        .encode(x, y, *channels),
        look.on("found")
        .mark_point(size=190, filled=True, opacity=1, aria=False)
        .encode(x, y, color=look.css("found")),
        look.on("found")
        .mark_text(text="1", fontWeight="bold", aria=False)
        .encode(x, y, color=look.css("back")),
        look.on("chosen")
        .mark_point(size=420, strokeWidth=2.5, filled=False, opacity=1, aria=False)
        .encode(x, y, color=look.css("ink")),
    ]
    if data.joined:
        line = look.on("front").mark_line(interpolate="step-after", strokeWidth=1.5, aria=False)
        layers.insert(-5, line.encode(x, y, color=look.css("found")))
    best = [point for point in data.marked if point.kind == "best design"]
    baselines = [point for point in data.marked if point.kind != "best design"]
    return look.layered(
        layers,
        {
            "trials": [],
            "front": rows_of(data.front),
            "marked": rows_of(baselines),
            "found": rows_of(best),
            "chosen": [],
        },
    )


def _budget_layers(data: ParetoData, x: alt.X) -> list[alt.Chart]:
    if data.limit is None:
        return []
    over = alt.InlineData([{"x": data.limit, "end": data.x.high}])
    chart = alt.Chart(over)
    ink = look.css("muted")
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
        chart.mark_rect(aria=False).encode(x, x2="end:Q", color=look.css("over")),
        chart.mark_rule(strokeWidth=1.5, aria=False).encode(x, color=ink),
        label.encode(x, y=alt.value("height"), color=ink),
    ]


def rows_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Points as the rows of a data set."""
    return [asdict(point) for point in points]
