"""``bamsearch.report``: the report of runs or of an audit, by name or folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bamsearch.errors import NothingToDoError
from bamsearch.records.arguments import checked
from bamsearch.records.audit_files import find_audit, read_audit
from bamsearch.records.run_files import find_run, place_of, read_record
from bamsearch.reporting.audit.writing import AuditDocument
from bamsearch.reporting.content import Report, make_report
from bamsearch.reporting.several import RunsDocument
from bamsearch.reporting.writing import FORMATS, Document, ReportFormat, RunDocument
from bamsearch.study.folder import all_folders, find_folder


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


def newest_run() -> Path:
    """The folder of the newest run below ``runs/``; raises NothingToDoError if it is empty."""
    folders = all_folders()
    if not folders:
        raise NothingToDoError("there are no runs below runs/ yet: 'bamsearch search' creates one")
    return folders[-1].path


def _document(runs: Sequence[str], progress: Callable[[], object]) -> Document:
    if len(runs) == 1 and find_run(runs[0]) is None:
        audit = find_audit(runs[0])
        if audit is not None:
            return AuditDocument(read_audit(audit), audit)
    folders = [find_folder(run).path for run in runs] or [newest_run()]
    reports: list[Report] = []
    for folder in folders:
        reports.append(make_report(read_record(folder), place_of(folder)))
        progress()
    return RunDocument(reports[0], folders[0]) if len(reports) == 1 else RunsDocument(reports)
