"""``bamsearch search``: the best r, d and placement within the budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import refuse_design, silence_third_party
from bamsearch.cli.parameter_types import Real
from bamsearch.errors import ScoreError
from bamsearch.score.table import DEFAULT_SCORE, SCORES
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, RECIPES

if TYPE_CHECKING:
    from bamsearch.cli.text.search_live import TerminalSearchView
    from bamsearch.records import RunRecord
    from bamsearch.reporting.content import Report
    from bamsearch.study.request import SearchPlan


@options.command(
    "search",
    examples=[
        "bamsearch search --budget-gflops 8",
        "bamsearch search resnet50 --budget-gflops +2% --budget-params 26M --score naswot",
        "bamsearch search mobilenet_v2 --score snip --objective score --objective params",
        "bamsearch search bamsearch.examples:resnet20 --data digits --budget-gflops +5%",
        "bamsearch search --resume resnet101-8g-001 --trials 200",
    ],
)
@click.argument("model", metavar="[MODEL]", required=False)
@options.space
@click.option(
    "--score",
    metavar="NAME|FILE.py:FUNCTION",
    help=f"Score that ranks designs: {', '.join(('train', *SCORES))}, or a function of (design) "
    "or (module, design).  "
    f"[default: train with --data, else {DEFAULT_SCORE}, the number of parameters]",
)
@options.choice(
    "--objective",
    "objectives",
    choices=["score", "gflops", "params", "ms"],
    default=["score"],
    multiple=True,
    help="Objective to optimise; repeat for a Pareto front.",
)
@options.choice(
    "--sampler",
    choices=["gp", "tpe", "nsga2", "sorted", "random", "exhaustive"],
    help="Sampler that proposes designs.  [default: gp; exhaustive if at most --trials designs are "
    "feasible; sorted with score params or macs]",
)
@options.count(
    "--trials",
    help="Total number of trials, also with --resume.  [default: 100; 40 with score train]",
)
@click.option(
    "--until",
    type=Real(),
    metavar="POINTS",
    help="With score train: stop before --trials once the expected regret of stopping is below "
    "this many accuracy points.",
)
@options.choice(
    "--recipe",
    choices=[name for name in RECIPES if name != FINE_TUNE],
    help=f"Training recipe for score train.  [default: {DEFAULT_RECIPE}]",
)
@options.epochs
@options.timeout
@click.option(
    "--random/--no-random",
    "compare_random",
    default=None,
    help="Compare with a random search of the same length.  [default: yes; no with score train, "
    "params or macs]",
)
@options.jobs
@click.option("--resume", metavar="RUN", help="Resume a run.")
@click.option("--name", metavar="NAME", help="Name of the run.  [default: MODEL-BUDGET-NNN]")
@options.storage
@options.count(
    "--heartbeat",
    default=20,
    metavar="S",
    help="Heartbeat interval of workers, in seconds; a worker that misses three is considered "
    "dead.",
)
@options.device
@options.threads
@options.batch_size
@options.dtype
@options.choice(
    "--mode",
    choices=["eager", "compile", "cudagraph"],
    default="eager",
    help="Execution mode of networks for --budget-ms.",
)
@options.variant
@options.search_init
@options.input_size
@options.num_classes
@options.data
@options.download
@options.value_range
@options.seed
@options.json
@options.output("Folder of the run.  [default: runs/NAME]")
@options.pass_console
def search(console: Console, /, as_json: bool, dry_run: bool, **values: Any) -> None:
    """Find the r, d and placement of BAM in MODEL that score best under a budget.

    Without --data and --score, the score is the number of parameters, so that the best design is
    the largest feasible one. MODEL defaults to resnet101. Finished trials are always kept: stop
    with Ctrl-C, continue with --resume.
    """
    from bamsearch.cli.text.search_live import TerminalSearchView

    stated = options.stated(values)
    if not stated.keys() & {"name", "output", "resume"}:
        stated["name"] = True
    view = TerminalSearchView(console, dry_run=dry_run)
    try:
        # A user's score may print, but stdout is for data.
        with silence_third_party(console), refuse_design(values["model"] or "resnet101"):
            result = bamsearch.search(
                **stated, view=view, command=options.command_line(), dry_run=dry_run
            )
    except KeyboardInterrupt:
        if view.outcome is not None:
            _print_outcome(console, view, view.outcome, as_json=as_json)
        raise
    if view.outcome is not None:
        _print_outcome(console, view, view.outcome, as_json=as_json)
        check_scored(result.record)
    else:
        folder = view.folder or Path("runs") / "NAME"
        _print_plan(console, view.planned, result.estimated_seconds or 0.0, folder, as_json=as_json)


def _print_plan(
    console: Console, plan: SearchPlan, seconds: float, folder: Path, *, as_json: bool
) -> None:
    """Print the feasible designs, the estimated time, and the files that would be written."""
    from bamsearch.cli.text.search_plan import estimate_json, estimate_text, feasibility_text

    if as_json:
        console.print_json(estimate_json(plan, seconds))
    else:
        console.print(feasibility_text(plan))
        console.print(f"  {estimate_text(plan, seconds)}")
    names = ("run.json", "study.db", "trials.jsonl", "log.txt", "best/design.json")
    console.finish({}, [folder / name for name in names], dry_run=True)


def _print_outcome(
    console: Console, view: TerminalSearchView, report: Report, *, as_json: bool
) -> None:
    """Print the result of a search, or of the part before Ctrl-C."""
    from bamsearch.cli.text.search import print_result, search_next_steps, search_result_json
    from bamsearch.reporting.text import duration_text

    record, folder = report.record, view.folder or Path()
    if as_json:
        console.print_json(search_result_json(record))
    else:
        print_result(console, report)
    # On stderr, as stdout is reproducible.
    console.note(f"\ntotal time {duration_text(view.seconds)}")
    best = folder / "best" / "design.json"
    designs = [best] if record.best is not None and best.exists() else []
    pages = [file for file in view.files if file.suffix == ".html"]
    console.finish(search_next_steps(record, folder), [folder, *designs, *pages])


def check_scored(record: RunRecord) -> None:
    """Raise ScoreError if all trials of a search failed."""
    trials = record.trials
    if trials and all(trial.state == "failed" for trial in trials):
        raise ScoreError(f"all {len(trials)} designs failed: {trials[-1].reason}")
