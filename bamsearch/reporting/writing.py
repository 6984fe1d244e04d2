"""Writes report files: each one whole or not at all, always the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from bamsearch.errors import OutputError
from bamsearch.records.disk import refuse_links, remove_dead_drafts, whole_file, whole_folder
from bamsearch.reporting.content import Report

ReportFormat = Literal["csv", "md", "html", "json"]
FORMATS: tuple[ReportFormat, ...] = ("md", "html", "csv", "json")

REPORT_FOLDER = "report"
"""Subfolder of a run's folder."""

FILES: dict[ReportFormat, str] = {
    "md": "report.md",
    "html": "report.html",
    "csv": "trials.csv",
    "json": "report.json",
}
"""Each format's main file."""


def report_folder(run: Path) -> Path:
    """The folder of a run's report.

    Raises:
        OutputError: it is a symbolic link.
    """
    refuse_links(run, [REPORT_FOLDER])
    return run / REPORT_FOLDER


def text_of(report: Report, format: ReportFormat) -> str:
    """The report in one format; Markdown without its chart files."""
    from bamsearch.reporting.as_json import json_text
    from bamsearch.reporting.csv_table import csv_text
    from bamsearch.reporting.markdown import markdown
    from bamsearch.reporting.page import html_page

    makers: dict[ReportFormat, Callable[[], str]] = {
        "csv": lambda: csv_text([report.record]),
        "md": lambda: markdown(report, charts=False),
        "html": lambda: html_page(report),
        "json": lambda: json_text(report),
    }
    return makers[format]()


def file_names(formats: Sequence[ReportFormat]) -> list[str]:
    """The main files of these formats."""
    return [FILES[format] for format in FORMATS if format in formats]


def write_report(
    report: Report, folder: Path, formats: Sequence[ReportFormat] = FORMATS
) -> list[Path]:
    """Write the report.

    Args:
        report: report of a run.
        folder: target folder; created if missing.
        formats: formats to write; Markdown comes with SVG files of its charts, and CSV with a table
            of effects if there are any.

    Returns:
        The written files, the main files first.

    Raises:
        OutputError: a file cannot be written.
    """
    from bamsearch.reporting.charts.intervals import effects_svg, ranking_svg
    from bamsearch.reporting.charts.pareto_and_ranking import curve_svg, pareto_svg
    from bamsearch.reporting.csv_table import effects_csv
    from bamsearch.reporting.markdown import markdown
    from bamsearch.reporting.network import found_picture
    from bamsearch.reporting.network_svg import network_svg
    from bamsearch.reporting.page import html_page

    texts = {
        FILES[format]: text_of(report, format) for format in formats if format in ("csv", "json")
    }
    training_effects = report.training_effects
    if training_effects is not None and "csv" in formats:
        texts["effects.csv"] = effects_csv(training_effects.effects)
    if "md" in formats:
        texts[FILES["md"]] = markdown(report, charts=True)
        texts["network.svg"] = network_svg(found_picture(report.record))
        texts |= {"pareto.svg": pareto_svg(report), "curve.svg": curve_svg(report)}
        if training_effects is not None:
            texts["ranking.svg"] = ranking_svg(training_effects)
            texts |= (
                {"effects.svg": effects_svg(training_effects)} if training_effects.effects else {}
            )
    if "html" in formats:
        beside = frozenset(FILES[format] for format in formats)
        texts[FILES["html"]] = html_page(report, beside=beside)
    return write_texts(texts, folder)


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files by name; each file, and a new folder, is written whole or not at all.

    Raises:
        OutputError: the folder cannot be created, or a file cannot be written.
    """
    first = [name for name in FILES.values() if name in texts]
    names = [*first, *(name for name in texts if name not in first)]
    # As bytes, as CSV has its own line ends. A lone surrogate, which JSON can hold, becomes "?".
    contents = {name: texts[name].encode(errors="replace") for name in names}
    try:
        if not folder.exists():
            with whole_folder(folder) as draft:
                for name, content in contents.items():
                    (draft / name).write_bytes(content)
        else:
            for name, content in contents.items():
                remove_dead_drafts(folder / name)
                with whole_file(folder / name) as file:
                    file.write(content)
    except OSError as error:
        path = error.filename or folder
        raise OutputError(
            f"{path} cannot be written: {error.strerror}; choose another folder with -o"
        ) from error
    return [folder / name for name in names]
