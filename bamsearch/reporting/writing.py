"""Writes report files: each one whole or not at all, always the same bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bamsearch.errors import InvalidValueError
from bamsearch.files import refuse_links, remove_dead_drafts, whole_folder, write_whole, written
from bamsearch.reporting.content import Report
from bamsearch.text import indented_json

ReportFormat = Literal["csv", "md", "html", "json"]
FORMATS: tuple[ReportFormat, ...] = ("md", "html", "csv", "json")

# Up to the answer and its first reasons.
_REPR_LINES = 10
_ELSEWHERE = "choose another folder with -o"

REPORT_FOLDER = "report"
"""Subfolder of a run's folder."""

FILES: dict[ReportFormat, str] = {
    "md": "report.md",
    "html": "report.html",
    "csv": "trials.csv",
    "json": "report.json",
}
"""Each format's main file."""


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
            "csv": self._csv,
            "md": self._markdown,
            "html": self._page,
            "json": lambda: indented_json(self.value()) + "\n",
        }
        return makers[format]()

    def value(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return self._value()

    def texts(self, formats: Sequence[ReportFormat]) -> dict[str, str]:
        """The files of these formats by name; Markdown comes with SVG files of its charts."""
        names = {format: self.files[format] for format in formats}
        texts = {
            names[format]: self.text(format) for format in formats if format in ("csv", "json")
        }
        if "csv" in formats:
            texts |= self._more_tables()
        if "md" in formats:
            texts |= {names["md"]: self._markdown(charts=True)} | self._charts()
        if "html" in formats:
            texts[names["html"]] = self._page(frozenset(names.values()))
        return texts

    @abstractmethod
    def _value(self) -> dict[str, Any]: ...

    @abstractmethod
    def _csv(self) -> str: ...

    @abstractmethod
    def _markdown(self, *, charts: bool = False) -> str: ...

    @abstractmethod
    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        """HTML; ``beside`` are the names of the files that it may link to."""

    @abstractmethod
    def _charts(self) -> dict[str, str]:
        """SVG files that the Markdown shows, by name."""

    def _more_tables(self) -> dict[str, str]:
        return {}

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

    def _value(self) -> dict[str, Any]:
        from bamsearch.reporting.as_json import json_value

        return json_value(self.report)

    def _csv(self) -> str:
        from bamsearch.reporting.csv_table import csv_text

        return csv_text([self.report.record])

    def _more_tables(self) -> dict[str, str]:
        from bamsearch.reporting.csv_table import effects_csv

        effects = self.report.training_effects
        return {} if effects is None else {"effects.csv": effects_csv(effects.effects)}

    def _markdown(self, *, charts: bool = False) -> str:
        from bamsearch.reporting.markdown import markdown

        return markdown(self.report, charts=charts)

    def _page(self, beside: frozenset[str] = frozenset()) -> str:
        from bamsearch.reporting.page import html_page

        return html_page(self.report, beside=beside)

    def _charts(self) -> dict[str, str]:
        from bamsearch.reporting.charts.intervals import effects_svg, ranking_svg
        from bamsearch.reporting.charts.pareto_and_ranking import curve_svg, pareto_svg
        from bamsearch.reporting.network import found_picture
        from bamsearch.reporting.network_svg import network_svg

        report = self.report
        charts = {
            "network.svg": network_svg(found_picture(report.record)),
            "pareto.svg": pareto_svg(report),
            "curve.svg": curve_svg(report),
        }
        if report.training_effects is not None:
            charts["ranking.svg"] = ranking_svg(report.training_effects)
            if report.training_effects.effects:
                charts["effects.svg"] = effects_svg(report.training_effects)
        return charts


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
