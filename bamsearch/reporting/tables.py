"""The tables of a report as texts, for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bamsearch.records import Accuracy, Objective, Trial
from bamsearch.reporting.comparison import Compared, Latency
from bamsearch.reporting.content import Report
from bamsearch.reporting.text import (
    EXPECTED,
    change,
    count_text,
    design_text,
    duration_text,
    giga,
    map_text,
    mega,
    score_text,
)
from bamsearch.reporting.training_effects import interval_text
from bamsearch.text import number_text, printable, share_text, table_cell

AXES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs",
    "params": "parameters",
    "ms": "milliseconds",
}


_LEAST_SHARE = 0.005
"""Smaller shares would be shown as 0.00."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts that :func:`bamsearch.text.table_cell` makes safe to show.

    Attributes:
        header: titles of the columns.
        align: one letter per column, ``l`` or ``r``.
        rows: rows of cells.
    """

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(map(table_cell, self.header)))
        object.__setattr__(self, "rows", tuple(tuple(map(table_cell, row)) for row in self.rows))


def comparison_table(report: Report) -> Table:
    """The baselines and the best design, with differences to the base."""
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
        header += [f"accuracy{over}", f"best design minus this{over}"]
    return Table(tuple(header), "llrrrrrr" + ("rr" if trained else ""), tuple(rows))


def sites_table(report: Report) -> Table:
    """The insertions of the best design."""
    timed = any(row.ms is not None for row in report.sites)
    header = ["site", "C×H×W", "stride", "kind", "before", "r", "d", "+ params", "+ MACs"]
    rows = []
    for row in report.sites:
        site, insertion = row.site, row.insertion
        cells = [site.name, map_text(site), str(site.stride), site.kind, site.reducer or ""]
        same = "" if row.same_as is None else f" (same as {row.same_as})"
        cells += [str(insertion.reduction), f"{insertion.dilation}{same}"]
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
    """``score``, or ``expected accuracy, %`` if designs are trained."""
    return EXPECTED if report.trained else "score"


def axis_names(report: Report) -> list[str]:
    """The objectives of the front, in words."""
    score = "expected accuracy" if report.trained else "score"
    return [score if axis == "score" else AXES[axis] for axis in report.axes]


def importance_table(report: Report) -> Table:
    """Importances of the factors; those that explain nothing are left out."""
    rows = tuple(
        (
            ", ".join(map(printable, importance.sites)),
            importance.aspect,
            f"{importance.share:.2f}",
            importance.best,
            f"{importance.designs:,}",
        )
        for importance in report.importances
        if importance.share >= _LEAST_SHARE
    )
    header = ("site", "factor", "share of variance", "best mean at", "designs")
    return Table(header, "llrrr", rows)


def sizes_table(report: Report) -> Table:
    """Correlations of the score with size."""
    sizes = report.sizes
    named = {"parameters": sizes.params, "multiply-adds": sizes.macs, "number of BAMs": sizes.bams}
    rows = tuple(
        (name, "does not vary" if rho is None else f"{rho:+.2f}") for name, rho in named.items()
    )
    return Table(("size", "Spearman's rho with the score"), "lr", rows)


def health_table(report: Report) -> Table:
    """Counts over the search."""
    health = report.health
    about = "exact" if health.exact else "estimate"
    share = share_text(health.feasible, health.designs)
    feasible = f"{number_text(health.feasible)} of {number_text(health.designs)}, {share}"
    rows = [
        ("feasible designs", f"{feasible} ({about})"),
        ("scored", f"{health.scored:,} of {health.wanted:,}"),
        ("over budget", f"{health.over_budget:,}"),
        ("failed", f"{health.failed:,}"),
        *[("stopped early because they could not win", f"{health.stopped:,}")] * report.trained,
        ("retried after an interruption", f"{health.retried:,}"),
        ("duplicates withdrawn", f"{health.withdrawn:,}"),
    ]
    if report.record.finalists:
        rows.append(("measured over the time budget", f"{health.slow:,}"))
    if health.seconds is not None:
        took = duration_text(health.seconds) if health.seconds >= 10 else f"{health.seconds:.2g} s"
        rows.append(("median time per score", took))
    rows += [(f"reason: {reason}", count_text(number, "time")) for reason, number in health.reasons]
    return Table(("", ""), "lr", tuple(rows))


def provenance_table(report: Report) -> Table:
    """Provenance of the numbers."""
    return Table(("", ""), "ll", tuple(report.provenance.items()))


def latency_text(latency: Latency | None) -> str:
    """``1.023 [1.011, 1.034]``."""
    if latency is None:
        return "not measured"
    if latency.low == latency.high:
        return f"{latency.ratio:.3f}"
    return f"{latency.ratio:.3f} [{latency.low:.3f}, {latency.high:.3f}]"


def accuracy_text(accuracy: Accuracy | None) -> str:
    """``93.41% [93.10, 93.72]``."""
    if accuracy is None:
        return "not trained"
    return f"{accuracy.mean:.2f}% [{accuracy.low:.2f}, {accuracy.high:.2f}]"


def _size_cells(row: Compared, base: Compared) -> list[str]:
    if row.design is None or row.params is None or row.macs is None:
        return ["–"] * 5
    changes = ["", ""]
    if row.role != "base" and base.params is not None and base.macs is not None:
        changes = [change(base.params, row.params), change(base.macs, row.macs)]
    return [design_text(row.design), mega(row.params), changes[0], giga(row.macs), changes[1]]


def compared_score(row: Compared) -> str:
    """The score, with its interval if it is an expected accuracy; without a score, the reason."""
    if row.score is None:
        return row.note
    if row.expected is not None:
        return f"{row.score:.2f} {interval_text(row.expected.low, row.expected.high)}"
    return score_text(row.score)


def _difference(row: Compared) -> str:
    if row.difference is None:
        return ""
    difference = row.difference
    return f"{difference.points:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"


def _front_cells(trial: Trial, *, timed: bool) -> Sequence[str]:
    cells = [design_text(trial.design), score_text(trial.score), giga(trial.macs)]
    cells.append(mega(trial.params))
    if timed:
        cells.append("–" if trial.ms is None else f"{trial.ms:.3f}")
    return cells
