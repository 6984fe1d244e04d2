"""``bamsearch report``: the result of a search as text, Markdown, HTML, CSV and JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.reporting import FORMATS, ReportFormat

if TYPE_CHECKING:
    from bamsearch.reporting.documents import Document

STDOUT = Path("-")


@options.command(
    "report",
    examples=[
        "bamsearch report",
        "bamsearch report resnet101-8g-001 -f html -f md -o report/",
        "bamsearch report resnet101-8g-001 -f csv -o - > trials.csv",
        "bamsearch report resnet101-8g-001 resnet101-8g-002",
    ],
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@options.choice(
    "-f",
    "--format",
    "formats",
    choices=FORMATS,
    multiple=True,
    help="Format to write; repeatable.  [default: all]",
)
@click.option("--schema", is_flag=True, help="Print the JSON schema of report.json and exit.")
@options.json
@options.output(
    "Folder of the report, - for stdout.  [default: RUN/report, or nothing for several runs]"
)
@options.pass_console
def report(
    console: Console,
    runs: tuple[str, ...],
    formats: tuple[ReportFormat, ...],
    schema: bool,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Report the result of RUN: the best design, its baselines and the evidence.

    RUN is a name below runs/ or a folder, by default the newest run. Several runs are compared.
    RUN can also be the name or folder of a single audit.
    """
    from bamsearch.files import check_output_folder

    if schema:
        from bamsearch.reporting.as_json import schema_text

        console.print(schema_text().rstrip("\n"))
        return
    if output == STDOUT and len(formats) != 1:
        raise click.UsageError("-o - takes one format: add -f md, -f csv, -f json or -f html")
    if output != STDOUT:
        check_output_folder(output, force=force)
    with console.progress("reading runs", max(len(runs), 1)) as step:
        document = bamsearch.report(*runs, progress=step)
    if output == STDOUT:
        with console.progress("making the report"):
            text = document.text(formats[0])
        console.print_exactly(text)
        return
    wanted = formats or FORMATS
    written = document.paths(wanted, output)
    if written and not dry_run:
        with console.progress("making the report"):
            written = document.write(output, wanted)
    if as_json:
        console.print_json(document.value())
    else:
        _print(console, document, newest=not runs)
    console.finish(_next_steps(document, bool(written)), written, dry_run=dry_run)


def _print(console: Console, document: Document, *, newest: bool) -> None:
    from bamsearch.cli.text.audit import print_audit
    from bamsearch.cli.text.search import print_result
    from bamsearch.reporting.documents import AuditDocument, RunDocument, RunsDocument
    from bamsearch.reporting.network import found_picture
    from bamsearch.reporting.network_text import network_text
    from bamsearch.reporting.tables import several_notes, several_table
    from bamsearch.study.folder import all_folders

    if isinstance(document, RunDocument):
        report = document.report
        if newest:
            console.print(f"run {report.place}, the newest of {len(all_folders())}")
        print_result(console, report)
        console.print("\n" + network_text(found_picture(report.record)))
    elif isinstance(document, AuditDocument):
        print_audit(console, document.report)
    elif isinstance(document, RunsDocument):
        table = several_table(document.reports)
        console.table(table.header, table.rows, table.align, indent=0)
        console.print()
        for note in several_notes(document.reports):
            console.print(note)


def _next_steps(document: Document, written: bool) -> dict[str, str]:
    from bamsearch.cli.text.search import search_next_steps
    from bamsearch.reporting.documents import AuditDocument, RunDocument, RunsDocument

    if isinstance(document, RunDocument) and document.folder is not None:
        return search_next_steps(document.report.record, document.folder.parent)
    if isinstance(document, AuditDocument):
        audit = document.report.audit
        return {} if audit.finished or not audit.command else {"continue": audit.command}
    if isinstance(document, RunsDocument) and not written:
        runs = shlex.join(report.place for report in document.reports)
        return {"keep": f"bamsearch report {runs} -o DIR"}
    return {}
