"""A report's files: whole or not there, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from bamsearch.errors import OutputError
from bamsearch.records.disk import refuse_links, remove_dead_drafts, whole_file, whole_folder
from bamsearch.report.content import Report

Format = Literal["csv", "md", "html", "json"]
FORMATS: tuple[Format, ...] = ("md", "html", "csv", "json")

REPORT_FOLDER = "report"
"""In a run's folder."""

FILES: dict[Format, str] = {
    "md": "report.md",
    "html": "report.html",
    "csv": "trials.csv",
    "json": "report.json",
}
"""Each format's main file."""


def report_folder(run: Path) -> Path:
    """Folder of the report, in that of its run.

    Raises:
        OutputError: it is a link.
    """
    refuse_links(run, [REPORT_FOLDER])
    return run / REPORT_FOLDER


def text_of(report: Report, format: Format) -> str:
    """The report in one format; Markdown without the files of its charts.

    Args:
        report: of a run.
        format: which.
    """
    from bamsearch.report.as_json import json_text
    from bamsearch.report.csv_table import csv_text
    from bamsearch.report.markdown import markdown
    from bamsearch.report.page import html_page

    makers: dict[Format, Callable[[], str]] = {
        "csv": lambda: csv_text([report.record]),
        "md": lambda: markdown(report, charts=False),
        "html": lambda: html_page(report),
        "json": lambda: json_text(report),
    }
    return makers[format]()


def file_names(formats: Sequence[Format]) -> list[str]:
    """The main files of these formats."""
    return [FILES[one] for one in FORMATS if one in formats]


def write_report(report: Report, folder: Path, formats: Sequence[Format] = FORMATS) -> list[Path]:
    """Write the report.

    Args:
        report: of a run.
        folder: made if it is not there.
        formats: which files; Markdown brings its charts as SVG files, and CSV a second table where
            trainings told effects.

    Returns:
        What was written, the main files first.

    Raises:
        OutputError: a file cannot be written.
    """
    from bamsearch.report.charts import curve_svg, pareto_svg
    from bamsearch.report.csv_table import effects_csv
    from bamsearch.report.interval_charts import effects_svg, ranking_svg
    from bamsearch.report.markdown import markdown
    from bamsearch.report.network import found_picture
    from bamsearch.report.network_svg import network_svg
    from bamsearch.report.page import html_page

    texts = {FILES[one]: text_of(report, one) for one in formats if one in ("csv", "json")}
    found = report.mattered
    if found is not None and "csv" in formats:
        texts["effects.csv"] = effects_csv(found.effects)
    if "md" in formats:
        texts[FILES["md"]] = markdown(report, charts=True)
        texts["network.svg"] = network_svg(found_picture(report.record))
        texts |= {"pareto.svg": pareto_svg(report), "curve.svg": curve_svg(report)}
        if found is not None:
            texts["ranking.svg"] = ranking_svg(found)
            texts |= {"effects.svg": effects_svg(found)} if found.effects else {}
    if "html" in formats:
        beside = frozenset(FILES[one] for one in formats)
        texts[FILES["html"]] = html_page(report, beside=beside)
    return write_texts(texts, folder)


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files by their names; each, and a new folder, is there whole or not at all.

    Raises:
        OutputError: the folder cannot be made, or a file not be written.
    """
    first = [name for name in FILES.values() if name in texts]
    names = [*first, *(name for name in texts if name not in first)]
    # As bytes: CSV has its own line ends. Half of a character, which JSON can hold, is ?.
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
        place = error.filename or folder
        raise OutputError(
            f"{place} cannot be written: {error.strerror}; choose another place with -o"
        ) from error
    return [folder / name for name in names]
