"""Runs side by side: across models, spaces, budgets and samplers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bamsearch.report.as_json import REPORT_VERSION, json_value
from bamsearch.report.charts import curves_svg
from bamsearch.report.comparison import Compared
from bamsearch.report.content import CONVENTION, Report
from bamsearch.report.csv_table import csv_text
from bamsearch.report.markdown import environment
from bamsearch.report.page import several_page
from bamsearch.report.tables import Table, accuracy_text, latency_text
from bamsearch.report.text import (
    budget_text,
    change,
    design_text,
    giga,
    mega,
    score_text,
    shape_text,
)
from bamsearch.report.writing import FILES, Format, write_texts
from bamsearch.text import indented_json


def several_table(reports: Sequence[Report]) -> Table:
    """A row for each run: what was asked for, and what was found."""
    trained = any(report.record.shown_evidence is not None for report in reports)
    timed = any(report.record.finalists for report in reports)
    header = ["run", "model", "space", "budget", "sampler", "trials", "score"]
    header += ["best", "of random", "params", "", "GFLOPs", ""]
    header += ["latency"] * timed + ["accuracy", "does it help?"] * trained + ["design"]
    rows = []
    for report in reports:
        record, found = report.record, report.comparison[-1]
        run, random = record.run, record.reference("random")
        cells = [
            report.place,
            f"{run.model} {shape_text(run.summary.input_shape)}",
            str(run.space.get("name", "")),
            "; ".join(budget_text(run, one) for one in run.budgets) or "none",
            run.sampler,
            f"{len(record.trials):,} of {run.trials:,}",
            run.score,
            "none yet" if found.score is None else score_text(found.score),
            "–" if random is None else score_text(random.score),
            *_sizes(found, report.comparison[0]),
        ]
        cells += [latency_text(found.latency)] * timed
        cells += [_accuracy(report, found), _verdict(report)] * trained
        # The longest column last.
        cells.append("–" if found.design is None else design_text(found.design))
        rows.append(tuple(cells))
    align = "lllllrlrrrrrr" + "r" * timed + "rl" * trained + "l"
    return Table(tuple(header), align, tuple(rows))


def _accuracy(report: Report, found: Compared) -> str:
    """The accuracy, and what its interval is over, which may differ between runs."""
    over = f" over {report.over}" if report.over and found.accuracy is not None else ""
    return accuracy_text(found.accuracy) + over


def _verdict(report: Report) -> str:
    evidence = report.record.shown_evidence
    exploratory = evidence is not None and evidence.exploratory
    return f"{report.answer.verdict}, exploratory" if exploratory else report.answer.verdict


def _sizes(found: Compared, base: Compared) -> list[str]:
    if found.params is None or found.macs is None:
        return ["–"] * 4
    changes = [change(base.params or 0, found.params), change(base.macs or 0, found.macs)]
    return [mega(found.params), changes[0], giga(found.macs), changes[1]]


def several_notes(reports: Sequence[Report]) -> list[str]:
    """Which of the scores can be compared."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for report in reports:
        run = report.record.run
        shape = shape_text(run.summary.input_shape)
        key = (run.model, shape, run.score, run.variant, run.init, run.num_classes)
        groups[key].append(report.place)
    notes = [f"GFLOPs: {CONVENTION}. Differences are to each run's base."]
    if len(groups) == 1:
        return ["All scores are of one model, input and score: they can be compared.", *notes]
    together = [
        f"{', '.join(names)} ({key[0]} {key[1]}, {key[2]})"
        for key, names in groups.items()
        if len(names) > 1
    ]
    within = f" Within {'; within '.join(together)} they can." if together else ""
    return [f"Scores of different models, inputs or scores cannot be compared.{within}", *notes]


def several_json(reports: Sequence[Report]) -> dict[str, Any]:
    """All reports as JSON values, each as ``report.json`` has it."""
    return {"bamsearch_reports": REPORT_VERSION, "runs": [json_value(one) for one in reports]}


def several_text(reports: Sequence[Report], format: Format) -> str:
    """The comparison in one format; Markdown without the file of its chart."""
    if format == "json":
        return indented_json(several_json(reports)) + "\n"
    if format == "csv":
        return csv_text([report.record for report in reports])
    if format == "html":
        return several_page(reports, several_table(reports), several_notes(reports))
    return _markdown(reports, charts=False)


def _markdown(reports: Sequence[Report], *, charts: bool) -> str:
    template = environment().get_template("several.md.j2")
    return template.render(
        reports=reports,
        table=several_table(reports),
        notes=several_notes(reports),
        charts=charts,
    )


def write_several(reports: Sequence[Report], folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Write the comparison.

    Args:
        reports: of the runs, in the order of the rows.
        folder: made if it is not there.
        formats: which files; Markdown brings its chart as an SVG file.

    Returns:
        What was written.

    Raises:
        OutputError: a file cannot be written.
    """
    texts = {FILES[one]: several_text(reports, one) for one in formats if one != "md"}
    if "md" in formats:
        texts |= {FILES["md"]: _markdown(reports, charts=True), "curve.svg": curves_svg(reports)}
    return write_texts(texts, folder)
