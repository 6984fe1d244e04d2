"""What the charts show, as plain values: points, the ends of the axes, the budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bamsearch.records import Objective, Role, Trial
from bamsearch.report.content import Report
from bamsearch.report.curves import Curves
from bamsearch.report.text import EXPECTED, count_text

Kind = Literal[
    "search", "random search", "base", "paper default", "largest that fits", "best random", "found"
]
KINDS: dict[Role, Kind] = {
    "base": "base",
    "paper": "paper default",
    "largest": "largest that fits",
    "random": "best random",
    "found": "found",
}

UNITS: dict[Objective, float] = {"score": 1, "gflops": 1e9, "params": 1e6, "ms": 1}
"""What a trial's number is divided by on an axis."""

TITLES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs (1 MAC = 1 FLOP, fvcore)",
    "params": "parameters, M",
    "ms": "predicted milliseconds",
}

_LARGEST = 1e300
_MANY = 3000
_FEW = 0.02
"""The share of designs that may lie off the scale, if they would take more than half of it."""


@dataclass(frozen=True, slots=True)
class Point:
    """A design in the chart; ``kind`` tells how it is drawn."""

    kind: Kind
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of the chart.

    Attributes:
        objective: what it shows.
        low: its left or lower end, in the axis' unit.
        high: its other end.
        title: None for that of ``TITLES``.
    """

    objective: Objective
    low: float
    high: float
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ParetoData:
    """The Pareto chart.

    Attributes:
        x: what a design takes.
        y: the score.
        limit: the budget of x, in the axis' unit; None without one, or where it is off the scale.
        trials: all designs with a score, the search's own last, and so on top.
        front: from the cheapest on; ``kind`` is ``found`` for all.
        joined: whether the front is a line: not so with three objectives, seen in two.
        marked: the references and what was found.
        notes: what the scale leaves out, a sentence each.
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
    """What the chart's x axis shows: the first objective that is not the score."""
    return next(axis for axis in report.axes if axis != "score")


def plottable(value: float | None) -> bool:
    """Whether a chart can show the value: sums and differences of larger ones overflow."""
    return value is not None and abs(value) <= _LARGEST


def drawn(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """The trials that have a score and the other axis' number."""
    return [t for t in trials if plottable(t.score) and plottable(t.cost(objective))]


def pareto_data(report: Report) -> ParetoData | None:
    """The Pareto chart of a report; None where nothing has a score."""
    record, cost = report.record, cost_axis(report)

    def points(kind: Kind, trials: Iterable[Trial]) -> list[Point]:
        found = drawn(trials, cost)
        return [Point(kind, t.cost(cost) / UNITS[cost], t.cost("score")) for t in found]

    random = [trial for kind, trial in record.references if kind == "random"]
    trials = [
        *points("random search", record.designs(random)),
        *points("search", record.designs(record.trials)),
    ]
    marked = []
    for row in report.comparison:
        one = record.best if row.role == "found" else record.reference(row.role)
        marked += points(KINDS[row.role], [one] if one is not None else [])
    front = sorted(points("found", report.front), key=lambda point: (point.x, point.y))
    if not trials and not marked:
        return None
    limits = [b.limit / _limit_unit(cost) for b in record.run.budgets if b.quantity == cost]
    x, limit, notes = _cost_axis(cost, trials, marked, next(iter(limits), None))
    y, below = _score_axis(trials, marked)
    y = replace(y, title=EXPECTED if report.trained else None)
    joined = len(report.axes) == 2
    if not joined:
        notes.append("The front is of three objectives: seen in two, it is no line.")
    return ParetoData(
        x, y, limit, tuple(trials), tuple(front), joined, tuple(marked), (*below, *notes)
    )


def limit_text(limit: float) -> str:
    """A budget in its axis' unit: ``8.000``, ``0.00012``."""
    return f"{limit:.3f}" if limit >= 0.1 else f"{limit:.3g}"


def curve_points(curves: Curves) -> list[Point]:
    """Both curves where they change, and their ends; x is the number of trials."""
    both: dict[Kind, Sequence[float | None]] = {
        "search": curves.search,
        "random search": curves.random,
    }
    found = []
    for kind, scores in both.items():
        for at, score in enumerate(scores):
            changed = at == 0 or score != scores[at - 1] or at == len(scores) - 1
            if score is not None and plottable(score) and changed:
                found.append(Point(kind, at + 1, score))
    return found


def thinned(points: Sequence[Point]) -> list[Point]:
    """Many points without those that come to lie on another of their kind.

    Args:
        points: up to 3,000 stay as they are; of more, one a cell of 60 by 40.
    """
    if len(points) <= _MANY:
        return list(points)
    xs, ys = [p.x for p in points], [p.y for p in points]
    across = (max(xs) - min(xs)) / 60 or 1.0
    up = (max(ys) - min(ys)) / 40 or 1.0
    cells = {(p.kind, round(p.x / across), round(p.y / up)): p for p in points}
    return list(cells.values())


def _limit_unit(cost: Objective) -> float:
    # A budget of time is in nanoseconds, a trial's time in milliseconds.
    return 1e6 if cost == "ms" else UNITS[cost]


def _cost_axis(
    cost: Objective, trials: Sequence[Point], marked: Sequence[Point], limit: float | None
) -> tuple[Axis, float | None, list[str]]:
    """The axis, the limit where it is on it, and a note where it is not."""
    values = [point.x for point in trials] or [point.x for point in marked]
    low, high, notes = _widened(min(values), max(values), [(p.kind, p.x) for p in marked])
    span = (high - low) or abs(high) * 0.01 or 1.0
    if limit is not None and not low - span <= limit <= high + span:
        notes.append(f"The budget, {limit_text(limit)}, is off the scale.")
        limit = None
    if limit is not None:
        # Beyond it as much as the padding, to shade.
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
    low: float, high: float, marked: Iterable[tuple[Kind, float]]
) -> tuple[float, float, list[str]]:
    """Ends that take in what is marked, but not where it would take more than half of the scale."""
    notes = []
    # The base last: whether it is far off depends on all others.
    for kind, value in sorted(marked, key=lambda one: one[0] == "base"):
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
