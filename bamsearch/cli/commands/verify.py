"""``bamsearch verify``: tests whether the best design helps, with paired trainings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bamsearch
from bamsearch.api.view import write_beside
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.failures import NOT_AS_EXPECTED
from bamsearch.cli.parameter_types import Real
from bamsearch.cli.text.verify import answer_json, print_answer, print_verify_plan, verify_plan_json
from bamsearch.cli.training_view import TerminalView, recipe_options
from bamsearch.records.run_files import EVIDENCE_FILE, place_of
from bamsearch.training.progress import Watch
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, Recipe

if TYPE_CHECKING:
    from bamsearch.evidence.verify.request import VerifyPlan
    from bamsearch.reporting.content import Report


@options.command(
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
@options.download
@options.value_range
@options.count("--seeds", default=10, least=2, help="Maximum number of trainings per network.")
@options.count(
    "--looks",
    default=5,
    help="Interim looks at the test split; decided comparisons are not trained further.",
)
@click.option(
    "--seed",
    "first",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    help="First seed; seeds must differ from those of the search.  [default: 10000]",
)
@recipe_options(f"{DEFAULT_RECIPE}; with --weights {FINE_TUNE}")
@click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE",
    help="Trained weights of the base: all networks are fine-tuned for the same steps.",
)
@options.precision
@options.device
@click.option(
    "--margin",
    type=Real(),
    default=0.5,
    show_default=True,
    metavar="P",
    help="Differences smaller than this many points count as equivalent.",
)
@options.choice(
    "--over",
    choices=["seeds", "images"],
    default="seeds",
    help="Variation that intervals cover: other seeds on these test images, or other images too.",
)
@options.choice(
    "--expect",
    choices=["better", "not-worse"],
    help="Exit with 4 unless the best design is better than the base, or its interval is above "
    "-margin.",
)
@options.force
@options.json
@click.option("-n", "--dry-run", is_flag=True, help="Run without training.")
@options.pass_console
def verify(console: Console, /, run: str, as_json: bool, dry_run: bool, **values: Any) -> None:
    """Train the best design of RUN and its baselines, and test whether it helps.

    The base, the paper default, the largest feasible design, a random design and the best design
    are trained with the same seeds: the same base weights, the same order of images. The plan, with
    its cost and the smallest detectable differences, is printed first. Training stops early once
    looks at the test split decide. After Ctrl-C or a kill, the same command continues.
    """
    view = _View(console, as_json=as_json)
    with view.running():
        bamsearch.verify(
            run,
            dry_run=dry_run,
            view=view,
            command=options.command_line(),
            **options.stated(values),
        )
    folder = view.planned.folder.path
    if dry_run:
        if as_json:
            console.print_json(verify_plan_json(view.planned, view.estimate))
        step = {"train": "the same command without --dry-run"}
        console.finish(step, _output_paths(folder), dry_run=True)
        return
    report = _write_report(view)
    if as_json:
        console.print_json(answer_json(report))
    else:
        console.print()
        print_answer(console, report)
    console.finish(
        {"read": f"bamsearch report {shlex.quote(place_of(folder))}"}, _output_paths(folder)
    )
    _check_expected(console, view.planned, report)


class _View(TerminalView):
    def print_plan(self) -> None:
        if self.planned.request.weights is not None and self.planned.record.run.init == "paper":
            self.console.warn(
                "the run has init paper, which scales features by about 1.5 at each site: trained "
                "weights must adapt first; 'bamsearch search --init identity' preserves their "
                "output"
            )
        if not self.as_json:
            print_verify_plan(self.console, self.planned, self.estimate)

    def continuing(self) -> tuple[str, Path]:
        return "the same command again", _output_paths(self.planned.folder.path)[0]

    @contextmanager
    def train(self, title: str, recipe: Recipe) -> Iterator[Watch]:
        self.console.note(title)
        with super().train(title, recipe) as watch:
            yield watch


def _write_report(view: _View) -> Report:
    from bamsearch.reporting.content import make_report
    from bamsearch.reporting.documents import RunDocument

    folder = view.planned.folder
    report = make_report(folder.read_record(), place_of(folder.path))
    write_beside(RunDocument(report, folder.path), view)
    return report


def _output_paths(folder: Path) -> list[Path]:
    from bamsearch.evidence.verify.request import VERIFY_FOLDER
    from bamsearch.reporting.documents import REPORT_FOLDER

    return [folder / name for name in (VERIFY_FOLDER, EVIDENCE_FILE, REPORT_FOLDER)]


def _check_expected(console: Console, plan: VerifyPlan, report: Report) -> None:
    """Exit with code 4 unless the answer is as expected and not exploratory."""
    from bamsearch.evidence.verify.looks import meets

    evidence, expect = report.record.evidence, plan.request.expect
    if expect is None or evidence is None:
        return
    if not evidence.exploratory and meets(evidence.differences[0].low, expect, plan.request.margin):
        return
    console.warn(f"expected {expect}: {report.answer.headline}")
    raise click.exceptions.Exit(NOT_AS_EXPECTED)
