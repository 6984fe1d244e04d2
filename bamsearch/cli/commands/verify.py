"""``bamsearch verify``: tests whether the best design helps, with paired trainings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bamsearch.cli.console import Console
from bamsearch.cli.data_option import download_option, value_range_option
from bamsearch.cli.failures import NOT_AS_EXPECTED
from bamsearch.cli.model_work import announce_code, silence_third_party
from bamsearch.cli.options import (
    Count,
    Real,
    command,
    device_option,
    epochs_option,
    json_option,
    pass_console,
    precision_option,
)
from bamsearch.cli.output import write_beside
from bamsearch.cli.text.train import train_view
from bamsearch.cli.text.verify import answer_json, print_answer, print_verify_plan, verify_plan_json
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, RECIPES

if TYPE_CHECKING:
    from bamsearch.evidence.verify.request import VerifyPlan
    from bamsearch.evidence.verify.run import Watch
    from bamsearch.records import Expected
    from bamsearch.reporting.content import Report


@command(
    "verify",
    examples=[
        "bamsearch verify resnet20-5pct-001 --data digits --dry-run",
        "bamsearch verify resnet20-5pct-001 --data cifar10:DIR --seeds 8 --recipe paper-cifar",
        "bamsearch verify resnet50-4.2g-001 --data imagefolder:DIR --weights DEFAULT --epochs 5",
        "bamsearch verify resnet20-5pct-001 --data digits --expect not-worse",
    ],
)
@click.argument("run", metavar="RUN")
@click.option(
    "--data",
    metavar="NAME",
    help="Data set to train and test on: digits, or KIND:DIR.  [default: the run's]",
)
@download_option
@value_range_option
@click.option(
    "--seeds",
    type=Count(min=2),
    default=10,
    show_default=True,
    metavar="N",
    help="Maximum number of trainings per network.",
)
@click.option(
    "--looks",
    type=Count(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Interim looks at the test split; decided comparisons are not trained further.",
)
@click.option(
    "--seed",
    "first",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    help="First seed; seeds must differ from those of the search.  [default: 10000]",
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    help=f"Training recipe.  [default: {DEFAULT_RECIPE}; with --weights {FINE_TUNE}]",
)
@epochs_option
@click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE",
    help="Trained weights of the base: all networks are fine-tuned for the same steps.",
)
@precision_option
@device_option
@click.option(
    "--margin",
    type=Real(),
    default=0.5,
    show_default=True,
    metavar="P",
    help="Differences smaller than this many points count as equivalent.",
)
@click.option(
    "--over",
    type=click.Choice(["seeds", "images"]),
    default="seeds",
    show_default=True,
    help="Variation that intervals cover: other seeds on these test images, or other images too.",
)
@click.option(
    "--expect",
    type=click.Choice(["better", "not-worse"]),
    help="Exit with 4 unless the best design is better than the base, or its interval is above "
    "-margin.",
)
@click.option("--force", is_flag=True, help="Overwrite existing output.")
@json_option
@click.option("-n", "--dry-run", is_flag=True, help="Run without training.")
@pass_console
def verify(console: Console, /, run: str, as_json: bool, dry_run: bool, **options: Any) -> None:
    """Train the best design of RUN and its baselines, and test whether it helps.

    The base, the paper default, the largest feasible design, a random design and the best design
    are trained with the same seeds: the same base weights, the same order of images. The plan, with
    its cost and the smallest detectable differences, is printed first. Training stops early once
    looks at the test split decide. After Ctrl-C or a kill, the same command continues.
    """
    with console.progress(f"loading {run} and its data"), silence_third_party(console):
        from bamsearch.evidence.verify.estimate import estimate_verify
        from bamsearch.evidence.verify.request import VerifyRequest, plan_verify
        from bamsearch.records.run_files import find_run, read_run

        request = VerifyRequest(
            run=run, command=shlex.join(["bamsearch", *sys.argv[1:]]), **options
        )
        path = find_run(run)
        if path is not None:
            announce_code(console, read_run(path).model)
        planned = plan_verify(request)
    with console.progress("timing a few steps of each network"), silence_third_party(console):
        estimated = estimate_verify(planned)
    _warn_of_init(console, planned)
    if not as_json:
        print_verify_plan(console, planned, estimated)
    if dry_run:
        if as_json:
            console.print_json(verify_plan_json(planned, estimated))
        _finish(console, planned, dry_run=True)
        return
    report = _run_verify(console, planned)
    if as_json:
        console.print_json(answer_json(report))
    else:
        console.print()
        print_answer(console, report)
    _finish(console, planned)
    _check_expected(console, report, request.expect, request.margin)


def _warn_of_init(console: Console, planned: VerifyPlan) -> None:
    if planned.request.weights is not None and planned.record.run.init == "paper":
        console.warn(
            "the run has init paper, which scales features by about 1.5 at each site: trained "
            "weights must adapt first; 'bamsearch search --init identity' preserves their output"
        )


def _run_verify(console: Console, planned: VerifyPlan) -> Report:
    """Train and test; write the evidence and the updated report."""
    from bamsearch.evidence.verify.run import run_verify
    from bamsearch.records.run_files import place_of
    from bamsearch.reporting.content import make_report
    from bamsearch.reporting.writing import RunDocument

    @contextmanager
    def follow(title: str) -> Iterator[Watch]:
        console.note(title)
        with train_view(console, planned.recipe, title) as view:
            yield view.watch

    folder = planned.folder
    try:
        with silence_third_party(console):
            run_verify(planned, follow)
    except KeyboardInterrupt:
        console.finish({"continue": "the same command again"}, [_output_paths(planned)[0]])
        raise
    report = make_report(folder.read_record(), place_of(folder.path))
    write_beside(console, RunDocument(report, folder.path))
    return report


def _output_paths(planned: VerifyPlan) -> list[Path]:
    from bamsearch.evidence.verify.request import VERIFY_FOLDER
    from bamsearch.records.run_files import EVIDENCE_FILE
    from bamsearch.reporting.writing import REPORT_FOLDER

    folder = planned.folder.path
    return [folder / name for name in (VERIFY_FOLDER, EVIDENCE_FILE, REPORT_FOLDER)]


def _finish(console: Console, planned: VerifyPlan, *, dry_run: bool = False) -> None:
    from bamsearch.records.run_files import place_of

    name = shlex.quote(place_of(planned.folder.path))
    step = {"read": f"bamsearch report {name}"}
    if dry_run:
        step = {"train": "the same command without --dry-run"}
    console.finish(step, _output_paths(planned), dry_run=dry_run)


def _check_expected(
    console: Console, report: Report, expect: Expected | None, margin: float
) -> None:
    """Exit with code 4 unless the answer is as expected and not exploratory."""
    from bamsearch.evidence.verify.looks import meets

    evidence = report.record.evidence
    if expect is None or evidence is None:
        return
    if not evidence.exploratory and meets(evidence.differences[0].low, expect, margin):
        return
    console.warn(f"expected {expect}: {report.answer.headline}")
    raise click.exceptions.Exit(NOT_AS_EXPECTED)
