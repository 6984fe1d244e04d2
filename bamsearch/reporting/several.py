"""Comparison of several runs across models, spaces, budgets and samplers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bamsearch.reporting.as_json import REPORT_VERSION, json_value
from bamsearch.reporting.charts.pareto_and_ranking import curves_svg
from bamsearch.reporting.comparison import Compared
from bamsearch.reporting.content import CONVENTION, Report
from bamsearch.reporting.csv_table import csv_text
from bamsearch.reporting.markdown import markdown_environment
from bamsearch.reporting.page import several_page
from bamsearch.reporting.tables import Table, accuracy_text, latency_text
from bamsearch.reporting.text import (
    budget_text,
    change,
    design_text,
    giga,
    mega,
    score_text,
    shape_text,
)
from bamsearch.reporting.writing import Document


def several_table(reports: Sequence[Report]) -> Table:
    """One row per run: its settings and its best design."""
    trained = any(report.record.shown_evidence is not None for report in reports)
    timed = any(report.record.finalists for report in reports)
    header = ["run", "model", "space", "budget", "sampler", "trials", "score"]
    header += ["best", "best random", "params", "", "GFLOPs", ""]
    header += ["latency"] * timed + ["accuracy", "does it help?"] * trained + ["design"]
    rows = []
    for report in reports:
        record, best = report.record, report.comparison[-1]
        run, random = record.run, record.baseline("random")
        cells = [
            report.place,
            f"{run.model} {shape_text(run.summary.input_shape)}",
            str(run.space.get("name", "")),
            "; ".join(budget_text(run, budget) for budget in run.budgets) or "none",
            run.sampler,
            f"{len(record.trials):,} of {run.trials:,}",
            run.score,
            "none yet" if best.score is None else score_text(best.score),
            "–" if random is None else score_text(random.score),
            *_sizes(best, report.comparison[0]),
        ]
        cells += [latency_text(best.latency)] * timed
        cells += [_accuracy(report, best), _verdict(report)] * trained
        # The longest column last.
        cells.append("–" if best.design is None else design_text(best.design))
        rows.append(tuple(cells))
    align = "lllllrlrrrrrr" + "r" * timed + "rl" * trained + "l"
    return Table(tuple(header), align, tuple(rows))


def _accuracy(report: Report, best: Compared) -> str:
    """The accuracy, and what its interval covers, which may differ between runs."""
    over = f" over {report.over}" if report.over and best.accuracy is not None else ""
    return accuracy_text(best.accuracy) + over


def _verdict(report: Report) -> str:
    evidence = report.record.shown_evidence
    exploratory = evidence is not None and evidence.exploratory
    return f"{report.answer.verdict}, exploratory" if exploratory else report.answer.verdict


def _sizes(best: Compared, base: Compared) -> list[str]:
    if best.params is None or best.macs is None:
        return ["–"] * 4
    changes = [change(base.params or 0, best.params), change(base.macs or 0, best.macs)]
    return [mega(best.params), changes[0], giga(best.macs), changes[1]]


def several_notes(reports: Sequence[Report]) -> list[str]:
    """Notes on which scores can be compared."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for report in reports:
        run = report.record.run
        shape = shape_text(run.summary.input_shape)
        key = (run.model, shape, run.score, run.variant, run.init, run.num_classes)
        groups[key].append(report.place)
    notes = [f"GFLOPs: {CONVENTION}. Differences are relative to each run's base."]
    if len(groups) == 1:
        return ["All runs have the same model, input and score: scores are comparable.", *notes]
    together = [
        f"{', '.join(names)} ({key[0]} {key[1]}, {key[2]})"
        for key, names in groups.items()
        if len(names) > 1
    ]
    within = f" Within {'; within '.join(together)} they are." if together else ""
    return [f"Scores are not comparable across models, inputs or scores.{within}", *notes]


class RunsDocument(Document):
    """The comparison of several runs.

    Attributes:
        reports: reports of the runs, in the order of the rows.
    """

    def __init__(self, reports: Sequence[Report]) -> None:
        self.reports = reports

    def _value(self) -> dict[str, Any]:
        runs = [json_value(report) for report in self.reports]
        return {"bamsearch_reports": REPORT_VERSION, "runs": runs}

    def _csv(self) -> str:
        return csv_text([report.record for report in self.reports])

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        return several_page(self.reports, several_table(self.reports), several_notes(self.reports))

    def _markdown(self, *, charts: bool = False) -> str:
        template = markdown_environment().get_template("several.md.j2")
        return template.render(
            reports=self.reports,
            table=several_table(self.reports),
            notes=several_notes(self.reports),
            charts=charts,
        )

    def _charts(self) -> dict[str, str]:
        return {"curve.svg": curves_svg(self.reports)}
