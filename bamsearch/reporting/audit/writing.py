"""Writes the report files of an audit: each one whole or not at all, always the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bamsearch.records import Audit
from bamsearch.records.audit_files import AUDITS
from bamsearch.reporting.audit.content import AuditReport, make_audit_report
from bamsearch.reporting.audit.draws import mean_ranks, score_title
from bamsearch.reporting.writing import FORMATS, ReportFormat, write_texts
from bamsearch.text import csv_file_text, indented_json

AUDIT_FILES: dict[ReportFormat, str] = {
    "md": "report.md",
    "html": "report.html",
    "csv": "designs.csv",
    "json": "report.json",
}
"""Each format's main file."""

AUDIT_REPORT_VERSION = 1
"""Format of an audit's ``report.json``."""

_DESIGNS_SHOWN = 20


def audit_place(folder: Path) -> str:
    """The audit as commands take it: its name below ``audits/``, otherwise its path."""
    return folder.name if folder.parent == AUDITS else str(folder)


def audit_text(report: AuditReport, format: ReportFormat) -> str:
    """The report in one format; Markdown without its chart files."""
    makers: dict[ReportFormat, Callable[[], str]] = {
        "csv": lambda: audit_csv(report.audit),
        "md": lambda: _markdown(report, charts=False),
        "html": lambda: _page(report),
        "json": lambda: indented_json(audit_json(report)) + "\n",
    }
    return makers[format]()


def audit_json(report: AuditReport) -> dict[str, Any]:
    """The answer and the content of ``audit.json``."""
    return {
        "bamsearch_audit_report": AUDIT_REPORT_VERSION,
        "answer": {
            "default": report.audit.default,
            "headline": report.headline,
            "remarks": list(report.remarks),
        },
        "audit": json.loads(report.audit.to_json()),
    }


def audit_csv(audit: Audit) -> str:
    """Insertions, sizes, accuracies and scores, one row per design; missing values are empty."""
    used = {insertion.site for design in audit.designs for insertion in design.insertions}
    names = dict.fromkeys(name for design in audit.designs for name in design.scores)
    values = {
        f"score ({name}){score_title(audit, name)}": mean_ranks(audit.designs, name)
        for name in names
    }
    rows: list[dict[str, Any]] = []
    for number, design in enumerate(audit.designs):
        row: dict[str, Any] = {"design": number, "in band": design.in_band}
        row |= {"parameters": design.params, "MACs of one input": design.macs}
        row["accuracy (%), mean"] = None if design.mean is None else round(design.mean, 6)
        reached = design.accuracies or (None,) * len(audit.seeds)
        for seed, value in zip(audit.seeds, reached, strict=True):
            row[f"accuracy (%), seed {seed}"] = None if value is None else round(value, 6)
        row |= {column: each[number] for column, each in values.items()}
        insertions = {i.site: i for i in design.insertions}
        for site in (site.name for site in audit.summary.sites if site.name in used):
            insertion = insertions.get(site)
            row[f"{site} r"] = None if insertion is None else insertion.reduction
            row[f"{site} d"] = None if insertion is None else insertion.dilation
        rows.append(row)
    columns = list(rows[0]) if rows else []
    return csv_file_text(columns, (list(row.values()) for row in rows))


def write_audit_report(
    audit: Audit, folder: Path, formats: Sequence[ReportFormat] = FORMATS, name: str | None = None
) -> list[Path]:
    """Write the report of an audit.

    Args:
        audit: the record.
        folder: target folder; created if missing.
        formats: formats to write; Markdown comes with SVG files of its charts.
        name: name or folder of the audit, as commands take it; None: from the folder.

    Returns:
        The written files.

    Raises:
        OutputError: a file cannot be written.
    """
    report = make_audit_report(audit, name or audit_place(folder))
    texts = {
        AUDIT_FILES[format]: audit_text(report, format) for format in formats if format != "md"
    }
    if "md" in formats:
        from bamsearch.reporting.audit.charts import agreements_spec, scatter_spec
        from bamsearch.reporting.charts.pareto_and_ranking import standalone, svg

        texts[AUDIT_FILES["md"]] = _markdown(report, charts=True)
        if audit.finished:
            texts["agreement.svg"] = standalone(svg(agreements_spec(audit)))
            texts["accuracy.svg"] = standalone(svg(scatter_spec(audit)))
    return write_texts(texts, folder)


def _markdown(report: AuditReport, *, charts: bool) -> str:
    from bamsearch.reporting.markdown import markdown_environment, shortened

    template = markdown_environment().get_template("audit.md.j2")
    designs = shortened(report.designs, _DESIGNS_SHOWN)
    return template.render(report=report, charts=charts, designs=designs)


def _page(report: AuditReport) -> str:
    from bamsearch.reporting.audit.charts import agreements_spec, scatter_spec
    from bamsearch.reporting.charts.pareto_and_ranking import svg
    from bamsearch.reporting.page import html_environment

    template = html_environment().get_template("audit.html.j2")
    return template.render(
        report=report,
        agreement=svg(agreements_spec(report.audit)),
        accuracy=svg(scatter_spec(report.audit)),
    )
