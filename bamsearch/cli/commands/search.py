"""``bamsearch search``: the best r, d and placement within the budgets."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code, model_work, silence_third_party
from bamsearch.cli.output import write_beside
from bamsearch.cli.parameter_types import Real
from bamsearch.cli.search_folder import (
    check_folder,
    check_scored,
    is_unfinished_search,
    same_search,
)
from bamsearch.data.resolving import check_model_fits_data, resolve
from bamsearch.errors import InvalidValueError
from bamsearch.records import DType, Mode, ValueRange
from bamsearch.score.table import DEFAULT_SCORE, SCORES
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, RECIPES, Recipe, find_recipe

if TYPE_CHECKING:
    from bamsearch.records import Cited, Run
    from bamsearch.study.folder import RunFolder
    from bamsearch.study.request import SearchPlan, SearchRequest

DEFAULT_MODEL = "resnet101"


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
@click.pass_context
def search(
    ctx: click.Context,
    console: Console,
    /,
    model: str | None,
    score: str | None,
    recipe: str | None,
    epochs: int | None,
    timeout: float | None,
    jobs: int,
    resume: str | None,
    name: str | None,
    storage: str | None,
    device: str,
    threads: int,
    batch_size: int,
    dtype: DType,
    mode: Mode,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    data: str | None,
    download: bool,
    value_range: ValueRange | None,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
    **values: Any,
) -> None:
    """Find the r, d and placement of BAM in MODEL that score best under a budget.

    Without --data and --score, the score is the number of parameters, so that the best design is
    the largest feasible one. MODEL defaults to resnet101. Finished trials are always kept: stop
    with Ctrl-C, continue with --resume.
    """
    budgets = options.take_budgets(values)
    if sum(option is not None for option in (resume, name, output)) > 1:
        raise click.UsageError("--resume, --name and --output: choose one")
    if resume is not None and force:
        raise click.UsageError("--resume continues a run, --force starts it again: choose one")
    target = resume or model or DEFAULT_MODEL
    with model_work(console, f"determining the feasible designs of {target}", target):
        from bamsearch.space.measured_costs import LatencySettings
        from bamsearch.study.request import SearchRequest, search_device
        from bamsearch.study.resume import recorded_range

        if resume is not None and data is not None and value_range is None:
            value_range = recorded_range(resume)
        input_size, num_classes, facts = resolve(
            data, input_size, num_classes, download=download, value_range=value_range
        )
        resolved_device = search_device(
            device, score, trains=data is not None, timed="ms" in budgets
        )
        request = SearchRequest(
            model=model or DEFAULT_MODEL,
            budgets=budgets,
            score=score,
            input_size=input_size,
            num_classes=num_classes,
            data=facts,
            recipe=_recipe(recipe, epochs),
            timing=LatencySettings(resolved_device, batch_size, dtype, mode, threads),
            **values,
        )
        folder: RunFolder | None
        if resume is not None:
            planned, folder = _resumed(ctx, console, request, resume, storage, model)
        else:
            planned, folder = _new(console, request, name, output, storage, force)
        if folder is not None and planned.run.storage is not None and storage is None:
            raise InvalidValueError(
                f"run {folder.name} is stored in {planned.run.storage}: give its URL with --storage"
            )
        check_model_fits_data(facts, planned.run.summary)
    if dry_run:
        _dry_run(console, planned, folder, name, output, as_json)
        return
    if folder is None:
        from bamsearch.study.run import start_run

        folder = start_run(planned.run, _folder(name, output), storage, force=force)
    _search(console, planned, folder, storage, jobs, timeout, as_json)


def _new(
    console: Console,
    request: SearchRequest,
    name: str | None,
    output: Path | None,
    storage: str | None,
    force: bool,
) -> tuple[SearchPlan, RunFolder | None]:
    """Plan a new search, or resume an interrupted one in the same folder."""
    from bamsearch.score.scorer import check_score
    from bamsearch.study.request import plan_of_run, plan_search
    from bamsearch.study.storage import check_driver

    if request.score is not None:
        check_score(request.score)
    if storage is not None:
        check_driver(storage)
    folder = _folder(name, output)
    unfinished = folder is not None and not force and is_unfinished_search(folder)
    if folder is not None and not unfinished:
        check_folder(folder.path, force=force)
    planned = plan_search(request, command=shlex.join(["bamsearch", *sys.argv[1:]]))
    if folder is None or not unfinished:
        return replace(planned, run=replace(planned.run, audit=_audit_of(planned.run))), None
    recorded = folder.read_run()
    if not same_search(planned.run, recorded):
        check_folder(folder.path, force=force)
    console.note(f"resuming the unfinished search in {folder.path}\n")
    return plan_of_run(recorded), folder


def _folder(name: str | None, output: Path | None) -> RunFolder | None:
    """The folder that is named on the command line."""
    from bamsearch.study.folder import RunFolder, named_run_folder

    if output is not None:
        return RunFolder(output)
    return None if name is None else named_run_folder(name)


def _audit_of(run: Run) -> Cited | None:
    """The newest audit below ``audits/`` of the run's network, space and score."""
    from bamsearch.records import cited
    from bamsearch.records.audit_files import audits_of

    citations = (cited(audit, run.score, run.budgets) for audit in reversed(audits_of(run)))
    return next((citation for citation in citations if citation is not None), None)


def _resumed(
    ctx: click.Context,
    console: Console,
    request: SearchRequest,
    resume: str,
    storage: str | None,
    model: str | None,
) -> tuple[SearchPlan, RunFolder]:
    """Read a run and extend its trials if requested; other options must not differ."""
    from bamsearch.errors import RunError
    from bamsearch.study.folder import find_folder, named_run_folder
    from bamsearch.study.request import check_base, plan_of_run, with_trials
    from bamsearch.study.resume import check_same
    from bamsearch.study.run import folder_from_database

    try:
        folder = find_folder(resume)
        run = folder.read_run()
    except RunError:
        if storage is None:
            raise
        folder = named_run_folder(resume)
        run = folder_from_database(resume, storage, folder)
    source = ctx.get_parameter_source
    check_same(run, request, model, lambda name: source(name) is ParameterSource.COMMANDLINE)
    announce_code(console, run.model, run.score)
    planned = plan_of_run(run)
    check_base(run)
    return with_trials(planned, request.trials, request.until), folder


def _recipe(name: str | None, epochs: int | None) -> Recipe | None:
    if name is None and epochs is None:
        return None
    return find_recipe(name or DEFAULT_RECIPE).changed(epochs=epochs)


def _dry_run(
    console: Console,
    planned: SearchPlan,
    folder: RunFolder | None,
    name: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the feasible designs, the estimated time, and the files that would be written."""
    from bamsearch.cli.text.search_estimate import estimate_json, estimate_text, estimated_seconds
    from bamsearch.cli.text.search_fit import feasibility_text

    with console.progress("timing one score"), silence_third_party(console):
        seconds = estimated_seconds(planned)
    if as_json:
        console.print_json(estimate_json(planned, seconds))
    else:
        console.print(feasibility_text(planned))
        console.print(f"  {estimate_text(planned, seconds)}")
    path = folder.path if folder is not None else output or Path("runs") / (name or "NAME")
    names = ["run.json", "study.db", "trials.jsonl", "log.txt"]
    files = [path / file for file in names]
    console.finish({}, [*files, path / "best" / "design.json"], dry_run=True)


def _search(
    console: Console,
    planned: SearchPlan,
    folder: RunFolder,
    storage: str | None,
    jobs: int,
    timeout: float | None,
    as_json: bool,
) -> None:
    from bamsearch.cli.text.search import print_result, search_next_steps
    from bamsearch.cli.text.search_fit import feasibility_text
    from bamsearch.cli.text.search_json import search_result_json
    from bamsearch.cli.text.search_live import search_view
    from bamsearch.records.run_files import place_of
    from bamsearch.reporting.content import make_report
    from bamsearch.reporting.documents import RunDocument
    from bamsearch.reporting.text import duration_text
    from bamsearch.study.folder import REPORTED
    from bamsearch.study.run import SearchOptions, run_search

    console.note(f"{feasibility_text(planned)}\n")
    run = replace(planned.run, name=folder.name)
    end = None if timeout is None else time.monotonic() + timeout
    interrupted = False
    # A user's score may print, but stdout is for data.
    with search_view(console, run) as view, silence_third_party(console):
        options = SearchOptions(
            url=storage,
            jobs=jobs,
            stop=lambda: end is not None and time.monotonic() >= end,
            watch=view.watch,
            follow=view.follow,
        )
        try:
            record = run_search(planned, folder, options)
        except KeyboardInterrupt:
            record, interrupted = folder.read_record(), True
    report = make_report(record, place_of(folder.path))
    if as_json:
        console.print_json(search_result_json(record))
    else:
        print_result(console, report)
    # On stderr, as stdout is reproducible.
    console.note(f"\ntotal time {duration_text(view.seconds)}")
    best = folder.path / "best" / "design.json"
    designs = [best] if record.best is not None and best.exists() else []
    files = write_beside(console, RunDocument(report, folder.path))
    if files:
        folder.log(REPORTED)
    pages = [file for file in files if file.suffix == ".html"]
    written = [folder.path, *designs, *pages]
    console.finish(search_next_steps(record, folder.path), written)
    if interrupted:
        raise KeyboardInterrupt
    check_scored(record)
