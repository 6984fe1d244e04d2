"""``bamsearch report``: the result of a search as text, Markdown, HTML, CSV and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from bamsearch.cli.console import Console
from bamsearch.cli.options import command, json_option, output_options, pass_console
from bamsearch.errors import NothingToDoError
from bamsearch.reporting.writing import FORMATS, ReportFormat

STDOUT = Path("-")


@command(
    "report",
    examples=[
        "bamsearch report",
        "bamsearch report resnet101-8g-001 -f html -f md -o report/",
        "bamsearch report resnet101-8g-001 -f csv -o - > trials.csv",
        "bamsearch report resnet101-8g-001 resnet101-8g-002",
    ],
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "-f",
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="Format to write; repeatable.  [default: all]",
)
@click.option("--schema", is_flag=True, help="Print the JSON schema of report.json and exit.")
@json_option
@output_options(
    "Folder of the report, - for stdout.  [default: RUN/report, or nothing for several runs]"
)
@pass_console
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
    from bamsearch.cli.output import check_output_folder

    if schema:
        from bamsearch.reporting.as_json import schema_text

        console.print(schema_text().rstrip("\n"))
        return
    if output == STDOUT and len(formats) != 1:
        raise click.UsageError("-o - takes one format: add -f md, -f csv, -f json or -f html")
    if output != STDOUT:
        check_output_folder(output, force=force)
    wanted = formats or FORMATS
    data_only = output == STDOUT or as_json
    if len(runs) == 1 and (audit := _audit_folder(runs[0])) is not None:
        from bamsearch.cli.text.audit import report_audit

        report_audit(
            console,
            audit,
            wanted,
            output,
            stdout=output == STDOUT,
            as_json=as_json,
            dry_run=dry_run,
        )
        return
    folders = [_folder(run) for run in runs] or [_newest(console, named=not data_only)]
    options = _Options(wanted, output, as_json, dry_run)
    if len(folders) == 1:
        _report_run(console, folders[0], options)
    else:
        _compare_runs(console, folders, options)


@dataclass(frozen=True)
class _Options:
    """Options of the report."""

    formats: Sequence[ReportFormat]
    output: Path | None
    as_json: bool
    dry_run: bool


def _folder(run: str) -> Path:
    from bamsearch.study.folder import find_folder

    return find_folder(run).path


def _audit_folder(name: str) -> Path | None:
    """The folder of the audit with that name; None if a run has the name."""
    from bamsearch.records.audit_files import find_audit
    from bamsearch.records.run_files import find_run

    return None if find_run(name) is not None else find_audit(name)


def _newest(console: Console, *, named: bool) -> Path:
    """The newest run below runs/; its name is printed if ``named``."""
    from bamsearch.study.folder import all_folders

    folders = all_folders()
    if not folders:
        raise NothingToDoError("there are no runs below runs/ yet: 'bamsearch search' creates one")
    newest = folders[-1].path
    if named:
        console.print(f"run {newest.name}, the newest of {len(folders)}")
    return newest


def _report_run(console: Console, folder: Path, options: _Options) -> None:
    from bamsearch.cli.text.search import print_result, run_argument, search_next_steps
    from bamsearch.records.run_files import read_record
    from bamsearch.reporting.as_json import json_value
    from bamsearch.reporting.content import make_report
    from bamsearch.reporting.network import found_picture
    from bamsearch.reporting.network_text import network_text
    from bamsearch.reporting.writing import file_names, report_folder, text_of, write_report

    with console.progress(f"reading {folder}"):
        record = read_record(folder)
        report = make_report(record, run_argument(folder))
    if options.output == STDOUT:
        with console.progress("making the report"):
            text = text_of(report, options.formats[0])
        console.print_exactly(text)
        return
    target = options.output or report_folder(folder)
    with console.progress("making the report"):
        written = [target / name for name in file_names(options.formats)]
        if not options.dry_run:
            written = write_report(report, target, options.formats)
    if options.as_json:
        console.print_json(json_value(report))
    else:
        print_result(console, report)
        console.print("\n" + network_text(found_picture(record)))
    console.finish(search_next_steps(record, folder), written, dry_run=options.dry_run)


def _compare_runs(console: Console, folders: Sequence[Path], options: _Options) -> None:
    from bamsearch.cli.text.search import run_argument
    from bamsearch.records.run_files import read_record
    from bamsearch.reporting.content import make_report
    from bamsearch.reporting.several import (
        several_json,
        several_notes,
        several_table,
        several_text,
        write_several,
    )
    from bamsearch.reporting.writing import file_names

    with console.progress("reading runs", len(folders)) as step:
        reports = []
        for folder in folders:
            reports.append(make_report(read_record(folder), run_argument(folder)))
            step()
    if options.output == STDOUT:
        console.print_exactly(several_text(reports, options.formats[0]))
        return
    written: list[Path] = []
    if options.output is not None:
        written = [options.output / name for name in file_names(options.formats)]
        if not options.dry_run:
            with console.progress("making the report"):
                written = write_several(reports, options.output, options.formats)
    if options.as_json:
        console.print_json(several_json(reports))
    else:
        table = several_table(reports)
        console.table(table.header, table.rows, table.align, indent=0)
        console.print()
        for note in several_notes(reports):
            console.print(note)
    arguments = " ".join(shlex.quote(run_argument(folder)) for folder in folders)
    steps = {} if written else {"keep": f"bamsearch report {arguments} -o DIR"}
    console.finish(steps, written, dry_run=options.dry_run)
