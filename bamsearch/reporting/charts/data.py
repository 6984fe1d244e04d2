"""The content of the charts as plain values: points, limits of the axes, the budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bamsearch.records import Objective, Role, Trial
from bamsearch.reporting.charts.curves import Curves
from bamsearch.reporting.content import Report
from bamsearch.reporting.text import EXPECTED, count_text

PointKind = Literal[
    "search",
    "random search",
    "base",
    "paper default",
    "largest that fits",
    "best random",
    "best design",
]
KINDS: dict[Role, PointKind] = {
    "base": "base",
    "paper": "paper default",
    "largest": "largest that fits",
    "random": "best random",
    "found": "best design",
}

UNITS: dict[Objective, float] = {"score": 1, "gflops": 1e9, "params": 1e6, "ms": 1}
"""Divisors of a trial's values on an axis."""

TITLES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs (1 MAC = 1 FLOP, fvcore)",
    "params": "parameters, M",
    "ms": "predicted milliseconds",
}

_LARGEST = 1e300
_MANY = 3000
_FEW = 0.02
"""Share of designs that may lie off the scale if they would take up more than half of it."""


@dataclass(frozen=True, slots=True)
class Point:
    """A design in the chart; ``kind`` sets its colour and mark."""

    kind: PointKind
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of the chart.

    Attributes:
        objective: objective that the axis shows.
        low: left or lower end, in the axis' unit.
        high: right or upper end.
        title: title; None: the one in ``TITLES``.
    """

    objective: Objective
    low: float
    high: float
    title: str | None = None


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

    x: Axis
    y: Axis
    limit: float | None
    trials: tuple[Point, ...]
    front: tuple[Point, ...]
    joined: bool
    marked: tuple[Point, ...]
    notes: tuple[str, ...]


def cost_axis(report: Report) -> Objective:
    """The objective of the x axis: the first one that is not the score."""
    return next(axis for axis in report.axes if axis != "score")


def plottable(value: float | None) -> bool:
    """Whether a chart can show the value; sums and differences of larger ones overflow."""
    return value is not None and abs(value) <= _LARGEST


def drawn(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """The trials that have a score and a value on the other axis."""
    return [t for t in trials if plottable(t.score) and plottable(t.cost(objective))]


def pareto_data(report: Report) -> ParetoData | None:
    """The Pareto chart of a report; None if nothing has a score."""
    record, cost = report.record, cost_axis(report)

    def points(kind: PointKind, trials: Iterable[Trial]) -> list[Point]:
        shown = drawn(trials, cost)
        return [Point(kind, t.cost(cost) / UNITS[cost], t.cost("score")) for t in shown]

    random = [trial for kind, trial in record.baselines if kind == "random"]
    trials = [
        *points("random search", record.designs(random)),
        *points("search", record.designs(record.trials)),
    ]
    marked = []
    for row in report.comparison:
        trial = record.best if row.role == "found" else record.baseline(row.role)
        marked += points(KINDS[row.role], [trial] if trial is not None else [])
    front = sorted(points("best design", report.front), key=lambda point: (point.x, point.y))
    if not trials and not marked:
        return None
    limits = [b.limit / _limit_unit(cost) for b in record.run.budgets if b.quantity == cost]
    x, limit, notes = _cost_axis(cost, trials, marked, next(iter(limits), None))
    y, below = _score_axis(trials, marked)
    y = replace(y, title=EXPECTED if report.trained else None)
    joined = len(report.axes) == 2
    if not joined:
        notes.append("The front has three objectives, so it is not a line in this chart.")
    return ParetoData(
        x, y, limit, tuple(trials), tuple(front), joined, tuple(marked), (*below, *notes)
    )


def limit_text(limit: float) -> str:
    """A budget in its axis' unit: ``8.000``, ``0.00012``."""
    return f"{limit:.3f}" if limit >= 0.1 else f"{limit:.3g}"


def curve_points(curves: Curves) -> list[Point]:
    """Points of both curves where they change, and their ends; x is the number of trials."""
    both: dict[PointKind, Sequence[float | None]] = {
        "search": curves.search,
        "random search": curves.random,
    }
    points = []
    for kind, scores in both.items():
        for at, score in enumerate(scores):
            changed = at == 0 or score != scores[at - 1] or at == len(scores) - 1
            if score is not None and plottable(score) and changed:
                points.append(Point(kind, at + 1, score))
    return points


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
) -> tuple[Axis, float | None, list[str]]:
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
    return _padded(cost, low, high), limit, notes


def _score_axis(trials: Sequence[Point], marked: Sequence[Point]) -> tuple[Axis, list[str]]:
    scores = sorted(point.y for point in trials) or [point.y for point in marked]
    low, high = scores[0], scores[-1]
    most = scores[int(len(scores) * _FEW)]
    if high - most < (high - low) / 2:
        low = most
    low, high, notes = _widened(low, high, [(p.kind, p.y) for p in marked])
    axis = _padded("score", low, high)
    below = sum(score < axis.low for score in scores)
    if below:
        notes.append(f"{count_text(below, 'design')} below the scale, drawn at its edge.")
    return axis, notes


def _widened(
    low: float, high: float, marked: Iterable[tuple[PointKind, float]]
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


def _padded(objective: Objective, low: float, high: float) -> Axis:
    margin = (high - low) * 0.05 or abs(high) * 0.01 or 1.0
    return Axis(objective, low - margin, high + margin)
