"""``bamsearch audit``: measures which scores rank designs as training does."""

from __future__ import annotations

import shlex
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bamsearch
from bamsearch.api.view import write_beside
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import model_work
from bamsearch.cli.text.audit import audit_plan_json, print_audit, print_audit_plan
from bamsearch.cli.training_view import TerminalView, recipe_options
from bamsearch.records import value_range_text
from bamsearch.records.audit_files import AUDIT_FILE, TRAININGS_FILE
from bamsearch.records.run_files import place_of
from bamsearch.score.table import SCORES
from bamsearch.training.recipe import DEFAULT_RECIPE

if TYPE_CHECKING:
    from bamsearch.records import Audit


@options.command(
    "audit",
    examples=[
        "bamsearch audit bamsearch.examples:resnet20 --data digits --epochs 1 --dry-run",
        "bamsearch audit bamsearch.examples:resnet20 --data cifar10:DIR --budget-gflops +10% -j 2",
        "bamsearch audit resnet20-10pct-001 --data cifar10:DIR --designs 60 --seeds 5",
    ],
)
@click.argument("target", metavar="MODEL|RUN")
@options.data
@options.download
@options.value_range
@options.space
@options.variant
@options.search_init
@options.input_size
@options.count("--designs", default=40, least=8, help="Number of designs to train.")
@options.count("--seeds", default=3, least=2, help="Number of trainings per design.")
@options.count(
    "--score-seeds",
    default=8,
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
@recipe_options(DEFAULT_RECIPE)
@options.precision
@options.device
@options.threads
@options.jobs
@options.seed
@click.option("--name", metavar="NAME", help="Name of the audit.  [default: MODEL-DATA-NNN]")
@options.json
@options.output("Folder of the audit.  [default: audits/NAME]")
@options.pass_console
def audit(console: Console, /, target: str, as_json: bool, dry_run: bool, **values: Any) -> None:
    """Train a sample of designs, and measure which scores rank them as training does.

    Half of the sample is from the most expensive quarter of the feasible designs, where a search
    under a budget looks. A RUN sets model, space and budgets. After Ctrl-C or a kill, the same
    command continues. Later searches of the model cite the results.
    """
    budgets = options.take_budgets(values)
    values = options.stated(values)
    if "scores" in values:
        names = (name.strip() for name in values["scores"].split(","))
        values["scores"] = tuple(name for name in names if name)
    view = _View(console, as_json=as_json)
    view.target = target
    with view.running():
        result = bamsearch.audit(
            target,
            budgets=budgets,
            dry_run=dry_run,
            view=view,
            command=options.command_line(),
            **values,
        )
    folder = view.planned.folder.path
    if dry_run:
        if as_json:
            console.print_json(audit_plan_json(view.planned, view.estimate))
        step = {"train": "the same command without --dry-run"}
        console.finish(step, _files(folder), dry_run=True)
        return
    from bamsearch.reporting.documents import AuditDocument

    document = AuditDocument(result, folder)
    write_beside(document, view)
    if as_json:
        console.print_json(document.value())
    else:
        console.print()
        print_audit(console, document.report)
    console.finish(_next_steps(result, folder), _files(folder))


class _View(TerminalView):
    target: str

    def print_plan(self) -> None:
        if not self.as_json:
            print_audit_plan(self.console, self.planned, self.estimate)

    def continuing(self) -> tuple[str, Path]:
        return "the same command again", self.planned.folder.path

    def work(self, title: str) -> AbstractContextManager[object]:
        return model_work(self.console, title, self.target)


def _files(folder: Path) -> list[Path]:
    from bamsearch.reporting.documents import FILES

    return [folder / name for name in (AUDIT_FILE, TRAININGS_FILE, FILES["html"])]


def _next_steps(result: Audit, folder: Path) -> dict[str, str]:
    steps = {"read": f"bamsearch report {shlex.quote(place_of(folder))}"}
    if result.default is not None:
        words = [result.model, "--data", result.data.name, "--score", result.default]
        if result.data.value_range is not None:
            words += ["--value-range", value_range_text(result.data.value_range)]
        for budget in result.budgets:
            words += [f"--budget-{budget.quantity}", budget.text]
        steps["search"] = shlex.join(["bamsearch", "search", *words])
    return steps
