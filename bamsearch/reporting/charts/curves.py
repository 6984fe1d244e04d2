"""The best score so far, of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from bamsearch.reporting.charts import look
from bamsearch.reporting.charts.pareto import Point, rows_of
from bamsearch.reporting.content import Report
from bamsearch.reporting.run_statistics import Curves

_COUNTS = alt.Axis(format=",d", tickMinStep=1)
_LINES = look.on("curves").mark_line(interpolate="step-after", strokeWidth=2, aria=False)


def curve_points(curves: Curves) -> list[Point]:
    """Points of both curves where they change, and their ends; x is the number of trials."""
    both: dict[str, Sequence[float | None]] = {
        "search": curves.search,
        "random search": curves.random,
    }
    points = []
    for kind, scores in both.items():
        for at, score in enumerate(scores):
            changed = at == 0 or score != scores[at - 1] or at == len(scores) - 1
            if score is not None and look.plottable(score) and changed:
                points.append(Point(kind, at + 1, score))
    return points


def curve_spec(report: Report) -> look.Spec:
    """The best score so far against the number of trials."""
    points = curve_points(report.curves)
    if not points:
        return look.empty_spec("nothing has a score yet")
    ys = [point.y for point in points]
    x = alt.X(
        "x:Q",
        title="designs tried" if report.curves.what == "score" else "trials",
        axis=_COUNTS,
        scale=alt.Scale(domain=[0, max(p.x for p in points)]),
    )
    axis = look.Axis.padded(min(ys), max(ys), f"best {report.curves.what} so far")
    marks = look.marks_of({point.kind for point in points})
    dashes = alt.Scale(domain=list(marks), range=[[1, 0], [5, 3]][: len(marks)])
    dash = alt.StrokeDash("kind:N", title=None, scale=dashes)
    return look.layered(
        [_LINES.encode(x, axis.encoding(alt.Y), look.encoded(marks)[0], dash)],
        {"curves": rows_of(points)},
    )


def curves_spec(reports: Sequence[Report]) -> look.Spec:
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
                if point.kind == "search" and look.plottable(point.y / best)
            ]
    if not rows:
        return look.empty_spec("no run has a random search to compare with")
    encoding = {
        "x": alt.X("x:Q", title="designs tried", axis=_COUNTS),
        "y": alt.Y("y:Q", title="best score / best random", scale=alt.Scale(zero=False)),
        "color": alt.Color("run:N", title=None, scale=alt.Scale(range=look.SERIES)),
        "strokeDash": alt.StrokeDash("run:N", title=None),
    }
    return look.layered([_LINES.encode(**encoding)], {"curves": rows})
