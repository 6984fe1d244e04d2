"""Writes the report files of an audit: each one whole or not at all, always the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bamsearch.records import Audit
from bamsearch.records.run_files import place_of
from bamsearch.reporting.audit.content import make_audit_report
from bamsearch.reporting.audit.draws import mean_ranks, score_title
from bamsearch.reporting.writing import FILES, Document
from bamsearch.text import csv_file_text

AUDIT_REPORT_VERSION = 1
"""Format of an audit's ``report.json``."""

_DESIGNS_SHOWN = 20


class AuditDocument(Document):
    """The report of an audit.

    Args:
        audit: the record.
        folder: folder of the audit, which its report is written into.
        name: name or folder of the audit, as commands take it; None: from the folder.

    Attributes:
        report: its statements.
    """

    files = FILES | {"csv": "designs.csv"}

    def __init__(self, audit: Audit, folder: Path, name: str | None = None) -> None:
        self.folder = folder
        self.report = make_audit_report(audit, name or place_of(folder))

    def _value(self) -> dict[str, Any]:
        audit = self.report.audit
        return {
            "bamsearch_audit_report": AUDIT_REPORT_VERSION,
            "answer": {
                "default": audit.default,
                "headline": self.report.headline,
                "remarks": list(self.report.remarks),
            },
            "audit": json.loads(audit.to_json()),
        }

    def _csv(self) -> str:
        return audit_csv(self.report.audit)

    def _markdown(self, *, charts: bool = False) -> str:
        from bamsearch.reporting.markdown import markdown_environment, shortened

        template = markdown_environment().get_template("audit.md.j2")
        designs = shortened(self.report.designs, _DESIGNS_SHOWN)
        return template.render(report=self.report, charts=charts, designs=designs)

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        from bamsearch.reporting.audit.charts import agreements_spec, scatter_spec
        from bamsearch.reporting.charts.pareto_and_ranking import svg
        from bamsearch.reporting.page import html_environment

        template = html_environment().get_template("audit.html.j2")
        return template.render(
            report=self.report,
            agreement=svg(agreements_spec(self.report.audit)),
            accuracy=svg(scatter_spec(self.report.audit)),
        )

    def _charts(self) -> dict[str, str]:
        from bamsearch.reporting.audit.charts import agreements_spec, scatter_spec
        from bamsearch.reporting.charts.pareto_and_ranking import standalone, svg

        audit = self.report.audit
        if not audit.finished:
            return {}
        return {
            "agreement.svg": standalone(svg(agreements_spec(audit))),
            "accuracy.svg": standalone(svg(scatter_spec(audit))),
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
