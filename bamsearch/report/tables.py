"""The tables of a report, as texts for any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bamsearch.records import Accuracy, Objective, Trial
from bamsearch.report.comparison import Compared, Latency
from bamsearch.report.content import Report
from bamsearch.report.mattered import interval_text
from bamsearch.report.text import (
    EXPECTED,
    change,
    design_text,
    duration_text,
    giga,
    map_text,
    mega,
    score_text,
)
from bamsearch.text import number_text, printable, share_text, table_cell

AXES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs",
    "params": "parameters",
    "ms": "milliseconds",
}


_LEAST_SHARE = 0.005
"""Less would be shown as 0.00."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as texts, made fit to be shown by :func:`bamsearch.text.table_cell`.

    Attributes:
        header: titles of the columns.
        align: a letter a column, ``l`` or ``r``.
        rows: cells.
    """

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(map(table_cell, self.header)))
        object.__setattr__(self, "rows", tuple(tuple(map(table_cell, row)) for row in self.rows))


def comparison_table(report: Report) -> Table:
    """Base, references and found, with differences to the base."""
    base = report.comparison[0]
    trained = any(row.accuracy is not None for row in report.comparison)
    score = score_name(report)
    header = ["", "design", "params", "", "GFLOPs", "", "latency, paired ratio", score]
    rows = []
    for row in report.comparison:
        cells = [row.label, *_size_cells(row, base), latency_text(row.latency)]
        cells.append(compared_score(row))
        if trained:
            cells += [accuracy_text(row.accuracy), _difference(row)]
        rows.append(tuple(cells))
    if trained:
        over = f", over {report.over}" if report.over else ""
        header += [f"accuracy{over}", f"found less this{over}"]
    return Table(tuple(header), "llrrrrrr" + ("rr" if trained else ""), tuple(rows))


def sites_table(report: Report) -> Table:
    """What the design that was found inserts."""
    timed = any(row.ms is not None for row in report.sites)
    header = ["site", "C×H×W", "stride", "kind", "before", "r", "d", "+ params", "+ MACs"]
    rows = []
    for row in report.sites:
        site, one = row.site, row.insertion
        cells = [site.name, map_text(site), str(site.stride), site.kind, site.reducer or ""]
        same = "" if row.same_as is None else f" (as {row.same_as})"
        cells += [str(one.reduction), f"{one.dilation}{same}"]
        cells += [f"{row.params:,}", f"{row.macs:,}"]
        if timed:
            cells.append("–" if row.ms is None else f"{row.ms:.3f}")
        rows.append(tuple(cells))
    if timed:
        header.append("+ ms, predicted")
    return Table(tuple(header), "lrrllrrrr" + ("r" if timed else ""), tuple(rows))


def front_table(report: Report) -> Table:
    """The Pareto front."""
    timed = "ms" in report.axes
    header = ["design", score_name(report), "GFLOPs", "params", *(["ms"] if timed else [])]
    rows = tuple(tuple(_front_cells(trial, timed=timed)) for trial in report.front)
    return Table(tuple(header), "lrrr" + ("r" if timed else ""), rows)


def score_name(report: Report) -> str:
    """``score``, or what it is where designs are trained."""
    return EXPECTED if report.trained else "score"


def axis_names(report: Report) -> list[str]:
    """The objectives of the front, in words."""
    score = "expected accuracy" if report.trained else "score"
    return [score if axis == "score" else AXES[axis] for axis in report.axes]


def importance_table(report: Report) -> Table:
    """What the score depends on; factors that explain nothing are left out."""
    rows = tuple(
        (
            ", ".join(map(printable, one.sites)),
            one.aspect,
            f"{one.share:.2f}",
            one.best,
            f"{one.designs:,}",
        )
        for one in report.importances
        if one.share >= _LEAST_SHARE
    )
    header = ("site", "factor", "share of variance", "best mean at", "designs")
    return Table(header, "llrrr", rows)


def sizes_table(report: Report) -> Table:
    """What the score goes with."""
    sizes = report.sizes
    named = {"parameters": sizes.params, "multiply-adds": sizes.macs, "number of BAMs": sizes.bams}
    rows = tuple(
        (name, "does not vary" if rho is None else f"{rho:+.2f}") for name, rho in named.items()
    )
    return Table(("size", "Spearman's rho with the score"), "lr", rows)


def health_table(report: Report) -> Table:
    """How the search went."""
    found = report.health
    about = "exact" if found.exact else "estimate"
    share = share_text(found.feasible, found.designs)
    fit = f"{number_text(found.feasible)} of {number_text(found.designs)}, {share}"
    rows = [
        ("designs that fit", f"{fit} ({about})"),
        ("scored", f"{found.scored:,} of {found.wanted:,}"),
        ("over budget", f"{found.over_budget:,}"),
        ("failed", f"{found.failed:,}"),
        *[("stopped early, as they could not win", f"{found.stopped:,}")] * report.trained,
        ("begun again after an interruption", f"{found.retried:,}"),
        ("duplicates withdrawn", f"{found.withdrawn:,}"),
    ]
    if report.record.finalists:
        rows.append(("timed, and over the budget of time", f"{found.slow:,}"))
    if found.seconds is not None:
        took = duration_text(found.seconds) if found.seconds >= 10 else f"{found.seconds:.2g} s"
        rows.append(("one scoring, median", took))
    rows += [(f"reason: {reason}", f"{number:,} times") for reason, number in found.reasons]
    return Table(("", ""), "lr", tuple(rows))


def provenance_table(report: Report) -> Table:
    """Where the numbers come from."""
    return Table(("", ""), "ll", tuple(report.provenance.items()))


def latency_text(latency: Latency | None) -> str:
    """``1.023 [1.011, 1.034]``."""
    if latency is None:
        return "not measured"
    if latency.low == latency.high:
        return f"{latency.ratio:.3f}"
    return f"{latency.ratio:.3f} [{latency.low:.3f}, {latency.high:.3f}]"


def accuracy_text(accuracy: Accuracy | None) -> str:
    """``93.41 [93.10, 93.72] %``."""
    if accuracy is None:
        return "not trained"
    return f"{accuracy.mean:.2f} [{accuracy.low:.2f}, {accuracy.high:.2f}] %"


def _size_cells(row: Compared, base: Compared) -> list[str]:
    if row.design is None or row.params is None or row.macs is None:
        return ["–"] * 5
    changes = ["", ""]
    if row.role != "base" and base.params is not None and base.macs is not None:
        changes = [change(base.params, row.params), change(base.macs, row.macs)]
    return [design_text(row.design), mega(row.params), changes[0], giga(row.macs), changes[1]]


def compared_score(row: Compared) -> str:
    """The score; with its interval where it is an expected accuracy; else why there is none."""
    if row.score is None:
        return row.note
    if row.expected is not None:
        return f"{row.score:.2f} {interval_text(row.expected.low, row.expected.high)}"
    return score_text(row.score)


def _difference(row: Compared) -> str:
    if row.difference is None:
        return ""
    one = row.difference
    return f"{one.points:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"


def _front_cells(trial: Trial, *, timed: bool) -> Sequence[str]:
    cells = [design_text(trial.design), score_text(trial.score), giga(trial.macs)]
    cells.append(mega(trial.params))
    if timed:
        cells.append("–" if trial.ms is None else f"{trial.ms:.3f}")
    return cells
