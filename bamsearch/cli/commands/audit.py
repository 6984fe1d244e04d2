"""``bamsearch audit``: measures which scores rank designs as training does."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bamsearch.cli.console import Console
from bamsearch.cli.data_option import data_option, download_option, value_range_option
from bamsearch.cli.model_work import announce_code, model_work, silence_third_party
from bamsearch.cli.options import (
    Count,
    command,
    device_option,
    epochs_option,
    input_size_option,
    jobs_option,
    json_option,
    output_options,
    pass_console,
    precision_option,
    seed_option,
    threads_option,
    variant_option,
)
from bamsearch.cli.output import write_beside
from bamsearch.cli.space_options import search_init_option, space_options, take_budgets
from bamsearch.cli.text.audit import audit_plan_json, print_audit, print_audit_plan
from bamsearch.cli.text.train import train_view
from bamsearch.errors import InvalidValueError
from bamsearch.records import value_range_text
from bamsearch.score.table import SCORES
from bamsearch.training.recipe import DEFAULT_RECIPE, RECIPES

if TYPE_CHECKING:
    from bamsearch.evidence.audit.folder import AuditFolder
    from bamsearch.evidence.audit.request import AuditPlan
    from bamsearch.evidence.audit.workers import Watch
    from bamsearch.records import Audit
    from bamsearch.reporting.audit.writing import AuditDocument

# Options that a run sets.
_SET_BY_RUN = (
    *(f"budget_{quantity}" for quantity in ("gflops", "params", "memory", "ms")),
    *("space", "with_stem", "variant", "init", "input_size"),
)


@command(
    "audit",
    examples=[
        "bamsearch audit bamsearch.examples:resnet20 --data digits --epochs 1 --dry-run",
        "bamsearch audit bamsearch.examples:resnet20 --data cifar10:DIR --budget-gflops +10% -j 2",
        "bamsearch audit resnet20-10pct-001 --data cifar10:DIR --designs 60 --seeds 5",
    ],
)
@click.argument("target", metavar="MODEL|RUN")
@data_option
@download_option
@value_range_option
@space_options
@variant_option
@search_init_option
@input_size_option
@click.option(
    "--designs",
    type=Count(min=8),
    default=40,
    show_default=True,
    metavar="N",
    help="Number of designs to train.",
)
@click.option(
    "--seeds",
    type=Count(min=2),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of trainings per design.",
)
@click.option(
    "--score-seeds",
    type=Count(min=1),
    default=8,
    show_default=True,
    metavar="N",
    help="Draws of each score (initial weights, images), with seeds from --seed on; ranks are "
    "averaged. More can be added later.",
)
@click.option(
    "--scores",
    default="all",
    show_default=True,
    metavar="LIST",
    help=f"Comma-separated scores to audit: {', '.join(SCORES)}, FILE.py:FUNCTION.",
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default=DEFAULT_RECIPE,
    show_default=True,
    help="Training recipe.",
)
@epochs_option
@precision_option
@device_option
@threads_option
@jobs_option
@seed_option
@click.option("--name", metavar="NAME", help="Name of the audit.  [default: MODEL-DATA-NNN]")
@json_option
@output_options("Folder of the audit.  [default: audits/NAME]")
@pass_console
@click.pass_context
def audit(
    ctx: click.Context,
    console: Console,
    /,
    target: str,
    scores: str,
    jobs: int,
    name: str | None,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Train a sample of designs, and measure which scores rank them as training does.

    Half of the sample is from the most expensive quarter of the feasible designs, where a search
    under a budget looks. A RUN sets model, space and budgets. After Ctrl-C or a kill, the same
    command continues. Later searches of the model cite the results.
    """
    if name is not None and output is not None:
        raise click.UsageError("--name and --output: choose one")
    with model_work(console, f"determining the feasible designs of {target}", target):
        from bamsearch.evidence.audit.request import AuditRequest, is_run, plan_audit
        from bamsearch.study.folder import find_folder

        if is_run(target):
            _check_run(ctx, target)
            announce_code(console, find_folder(target).read_run().model)
        request = AuditRequest(
            what=target,
            budgets=take_budgets(options),
            scores=tuple(score.strip() for score in scores.split(",") if score.strip()),
            command=shlex.join(["bamsearch", *sys.argv[1:]]),
            **options,
        )
        planned = plan_audit(request)
        planned, folder = _with_folder(planned, name, output, force=force)
    with console.progress("timing a few steps"), silence_third_party(console):
        from bamsearch.evidence.audit.estimate import estimate_audit

        estimate = estimate_audit(planned, folder, force=force)
    if not as_json:
        print_audit_plan(console, planned, estimate, jobs)
    if dry_run:
        if as_json:
            console.print_json(audit_plan_json(planned, estimate))
        console.finish(
            {"train": "the same command without --dry-run"}, _files(folder), dry_run=True
        )
        return
    document = _run_audit(console, planned, folder, jobs, force=force)
    if as_json:
        console.print_json(document.value())
    else:
        console.print()
        print_audit(console, document.report)
    _finish(console, document.report.audit, folder)


def _check_run(ctx: click.Context, run: str) -> None:
    """Raise InvalidValueError if an option that the run sets is on the command line."""
    for name in _SET_BY_RUN:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InvalidValueError(
                f"--{name.replace('_', '-')} is set by run {run}: leave it out, or give a MODEL"
            )


def _with_folder(
    planned: AuditPlan, name: str | None, output: Path | None, *, force: bool
) -> tuple[AuditPlan, AuditFolder]:
    """The folder of the audit, and the request merged with an audit that it already has."""
    from dataclasses import replace

    from bamsearch.evidence.audit.folder import AuditFolder, named_audit_folder, usual_folder
    from bamsearch.files import check_output_folder

    if output is not None:
        folder = AuditFolder(output)
    else:
        folder = named_audit_folder(name) if name is not None else usual_folder(planned.audit)
    check_output_folder(
        folder.path, force=folder.is_audit, advice="it is not an audit, so choose another path"
    )
    audit = planned.audit if force else folder.opened(planned.audit)
    return replace(planned, audit=audit), folder


def _run_audit(
    console: Console, planned: AuditPlan, folder: AuditFolder, jobs: int, *, force: bool
) -> AuditDocument:
    """Train, score and write the report."""
    from bamsearch.evidence.audit.run import run_audit

    @contextmanager
    def follow(title: str) -> Iterator[Watch]:
        with train_view(console, planned.recipe, title) as view:
            yield view.watch

    try:
        with silence_third_party(console):
            result = run_audit(
                planned, folder, jobs=jobs, follow=follow, say=console.note, force=force
            )
    except KeyboardInterrupt:
        console.finish({"continue": "the same command again"}, [folder.path])
        raise
    from bamsearch.reporting.audit.writing import AuditDocument

    document = AuditDocument(result, folder.path)
    write_beside(console, document)
    return document


def _files(folder: AuditFolder) -> list[Path]:
    from bamsearch.records.audit_files import AUDIT_FILE, TRAININGS_FILE
    from bamsearch.reporting.writing import FILES

    names = (AUDIT_FILE, TRAININGS_FILE, FILES["html"])
    return [folder.path / name for name in names]


def _argument(folder: AuditFolder) -> str:
    from bamsearch.records.run_files import place_of

    return place_of(folder.path)


def _finish(console: Console, result: Audit, folder: AuditFolder) -> None:
    steps = {"read": f"bamsearch report {shlex.quote(_argument(folder))}"}
    if result.default is not None:
        words = [result.model, "--data", result.data.name, "--score", result.default]
        if result.data.value_range is not None:
            words += ["--value-range", value_range_text(result.data.value_range)]
        for budget in result.budgets:
            words += [f"--budget-{budget.quantity}", budget.text]
        steps["search"] = shlex.join(["bamsearch", "search", *words])
    console.finish(steps, _files(folder))
