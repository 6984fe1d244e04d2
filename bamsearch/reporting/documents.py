"""Reports in all formats, and ``bamsearch.report``, which makes them.

Files are written whole or not at all, and are always the same bytes. Pages and charts are imported
where they are made, because Vega and Altair are slow to import.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bamsearch.errors import InvalidValueError, NothingToDoError
from bamsearch.files import refuse_links, remove_dead_drafts, whole_folder, write_whole, written
from bamsearch.records import Audit
from bamsearch.records.arguments import checked
from bamsearch.records.audit_files import find_audit, read_audit
from bamsearch.records.run_files import find_run, place_of, read_record
from bamsearch.reporting import FORMATS, ReportFormat, csv_tables
from bamsearch.reporting.as_json import REPORT_VERSION, json_value
from bamsearch.reporting.audit import AuditReport
from bamsearch.reporting.content import Report, make_report
from bamsearch.reporting.markdown import markdown, render_markdown
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_svg import network_svg
from bamsearch.reporting.tables import several_notes, several_table
from bamsearch.study.folder import all_folders, find_folder
from bamsearch.text import indented_json

REPORT_FOLDER = "report"
"""Subfolder of a run's folder."""

FILES: dict[ReportFormat, str] = {
    "md": "report.md",
    "html": "report.html",
    "csv": "trials.csv",
    "json": "report.json",
}
"""Each format's main file."""

AUDIT_REPORT_VERSION = 1
"""Format of an audit's ``report.json``."""

# Up to the answer and its first reasons.
_REPR_LINES = 10
_ELSEWHERE = "choose another folder with -o"


class Document(ABC):
    """A report in its formats: of a run, of several runs side by side, or of an audit.

    Attributes:
        files: main file of each format.
        folder: folder of the report beside its records; None if they are several.
    """

    files: Mapping[ReportFormat, str] = FILES
    folder: Path | None = None

    def text(self, format: ReportFormat) -> str:
        """The report in one format; Markdown without its chart files."""
        makers: dict[ReportFormat, Callable[[], str]] = {
            "csv": lambda: next(iter(self._tables().values())),
            "md": self._markdown,
            "html": self._page,
            "json": lambda: indented_json(self.value()) + "\n",
        }
        return makers[format]()

    def texts(self, formats: Sequence[ReportFormat]) -> dict[str, str]:
        """The files of these formats by name; Markdown comes with SVG files of its charts."""
        names = {format: self.files[format] for format in formats}
        texts: dict[str, str] = {}
        if "json" in names:
            texts[names["json"]] = self.text("json")
        if "csv" in names:
            texts |= self._tables()
        if "md" in names:
            texts |= {names["md"]: self._markdown(charts=True)} | self._pictures()
        if "html" in names:
            texts[names["html"]] = self._page(frozenset(names.values()))
        return texts

    @abstractmethod
    def value(self) -> dict[str, Any]:
        """The content of ``report.json``."""

    @abstractmethod
    def _tables(self) -> dict[str, str]:
        """CSV files by name, the main file first."""

    @abstractmethod
    def _markdown(self, *, charts: bool = False) -> str: ...

    @abstractmethod
    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        """HTML; ``beside`` are the names of the files that it may link to."""

    @abstractmethod
    def _charts(self) -> dict[str, Any]:
        """Vega-Lite specifications of the charts by name."""

    @cached_property
    def _drawings(self) -> dict[str, str]:
        """The charts as SVG whose colours are CSS variables, by name."""
        from bamsearch.reporting.charts.look import svg

        return {name: svg(spec) for name, spec in self._charts().items()}

    def _pictures(self) -> dict[str, str]:
        """SVG files that the Markdown shows, by name."""
        from bamsearch.reporting.charts.look import standalone

        return {f"{name}.svg": standalone(text) for name, text in self._drawings.items()}

    def paths(self, formats: Sequence[ReportFormat], folder: Path | None = None) -> list[Path]:
        """The main files of these formats below ``folder``, or below its own; empty if neither."""
        target = folder or self.folder
        if target is None:
            return []
        return [target / name for format, name in self.files.items() if format in formats]

    def write(
        self, folder: Path | None = None, formats: Sequence[ReportFormat] = FORMATS
    ) -> list[Path]:
        """Write the report; the main files come first in the result.

        Args:
            folder: target folder, created if missing; None is its own.
            formats: formats to write.

        Raises:
            OutputError: a file cannot be written, or the run's report is a symbolic link.
            InvalidValueError: several runs and no folder.
        """
        target = folder or self.folder
        if target is None:
            raise InvalidValueError("a report of several runs needs a folder")
        if folder is None:
            refuse_links(target.parent, [target.name])
        return write_texts(self.texts(formats), target)

    def _repr_html_(self) -> str:
        return self.text("html")

    def __str__(self) -> str:
        return self.text("md")

    def __repr__(self) -> str:
        return "\n".join([*str(self).splitlines()[:_REPR_LINES], "…"])


class RunDocument(Document):
    """The report of a run.

    Attributes:
        report: its statements.
    """

    def __init__(self, report: Report, run: Path | None = None) -> None:
        self.report = report
        self.folder = None if run is None else run / REPORT_FOLDER

    def value(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return json_value(self.report)

    def _tables(self) -> dict[str, str]:
        tables = {self.files["csv"]: csv_tables.csv_text([self.report.record])}
        if self.report.training_effects is not None:
            effects = self.report.training_effects.effects
            tables["effects.csv"] = csv_tables.effects_csv(effects)
        return tables

    def _markdown(self, *, charts: bool = False) -> str:
        return markdown(self.report, charts=charts)

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        from bamsearch.reporting.page import html_page

        return html_page(self.report, self._drawings, beside=beside)

    def _charts(self) -> dict[str, Any]:
        from bamsearch.reporting.charts import run_charts

        return run_charts(self.report)

    def _pictures(self) -> dict[str, str]:
        network = network_svg(found_picture(self.report.record))
        return {"network.svg": network} | super()._pictures()


class RunsDocument(Document):
    """The comparison of several runs.

    Attributes:
        reports: reports of the runs, in the order of the rows.
    """

    def __init__(self, reports: Sequence[Report]) -> None:
        self.reports = reports

    def value(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        runs = [json_value(report) for report in self.reports]
        return {"bamsearch_reports": REPORT_VERSION, "runs": runs}

    def _tables(self) -> dict[str, str]:
        records = [report.record for report in self.reports]
        return {self.files["csv"]: csv_tables.csv_text(records)}

    def _content(self) -> dict[str, Any]:
        return {
            "reports": self.reports,
            "table": several_table(self.reports),
            "notes": several_notes(self.reports),
        }

    def _markdown(self, *, charts: bool = False) -> str:
        return render_markdown("several.md.j2", charts=charts, **self._content())

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        from bamsearch.reporting.page import render_page

        return render_page("several.html.j2", charts=self._drawings, **self._content())

    def _charts(self) -> dict[str, Any]:
        from bamsearch.reporting.charts import runs_charts

        return runs_charts(self.reports)


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
        self.report = AuditReport(audit, name or place_of(folder))

    def value(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        audit = self.report.audit
        return {
            "bamsearch_audit_report": AUDIT_REPORT_VERSION,
            "answer": {
                "default": audit.default,
                "headline": self.report.headline,
                "remarks": list(audit.remarks),
            },
            "audit": json.loads(audit.to_json()),
        }

    def _tables(self) -> dict[str, str]:
        return {self.files["csv"]: csv_tables.audit_csv(self.report.audit)}

    def _markdown(self, *, charts: bool = False) -> str:
        return render_markdown("audit.md.j2", report=self.report, charts=charts)

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        from bamsearch.reporting.page import render_page

        return render_page("audit.html.j2", report=self.report, charts=self._drawings)

    def _charts(self) -> dict[str, Any]:
        from bamsearch.reporting.charts import audit_charts

        return audit_charts(self.report.audit)


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files by name; each file, and a new folder, is written whole or not at all.

    Raises:
        OutputError: the folder cannot be created, or a file cannot be written.
    """
    first = [name for name in FILES.values() if name in texts]
    names = [*first, *(name for name in texts if name not in first)]
    # As bytes, as CSV has its own line ends. A lone surrogate, which JSON can hold, becomes "?".
    contents = {name: texts[name].encode(errors="replace") for name in names}
    if not folder.exists():
        with written(folder, _ELSEWHERE), whole_folder(folder) as draft:
            for name, content in contents.items():
                (draft / name).write_bytes(content)
    else:
        for name, content in contents.items():
            remove_dead_drafts(folder / name)
            write_whole(folder / name, content, _ELSEWHERE)
    return [folder / name for name in names]


@checked
def report(
    *runs: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    formats: Sequence[ReportFormat] = FORMATS,
    progress: Callable[[], object] = lambda: None,
) -> Document:
    """The report of a run or an audit, or several runs side by side, as ``bamsearch report``.

    It is made from the records alone: no code of a run is executed. Notebooks display it.

    Args:
        runs: names or folders of runs, or a single audit; none is the newest run below ``runs/``.
            A result of :func:`bamsearch.search` is taken as its folder.
        output: folder to write the report into; None writes nothing, see :meth:`Document.write`.
        formats: formats to write: md, html, csv and json.
        progress: called after each run is read.

    Raises:
        NothingToDoError: no run is given, and there are none below ``runs/``.
        RunError: no such run, or it is unreadable.
        OutputError: a file cannot be written.
    """
    document = _document([os.fspath(run) for run in runs], progress)
    if output is not None:
        document.write(Path(output), formats)
    return document


def _document(runs: Sequence[str], progress: Callable[[], object]) -> Document:
    if len(runs) == 1 and find_run(runs[0]) is None:
        audit = find_audit(runs[0])
        if audit is not None:
            return AuditDocument(read_audit(audit), audit)
    folders = [find_folder(run).path for run in runs]
    if not runs:
        folders = [folder.path for folder in all_folders()[-1:]]
    if not folders:
        raise NothingToDoError("there are no runs below runs/ yet: 'bamsearch search' creates one")
    reports: list[Report] = []
    for folder in folders:
        reports.append(make_report(read_record(folder), place_of(folder)))
        progress()
    return RunDocument(reports[0], folders[0]) if len(reports) == 1 else RunsDocument(reports)
