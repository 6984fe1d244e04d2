"""The public function ``search``."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from bamsearch.api.result import SearchResult
from bamsearch.api.stated import with_stated
from bamsearch.api.view import ProgressView, SearchView, write_beside
from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records import (
    Cited,
    DType,
    Init,
    Mode,
    Objective,
    Quantity,
    Run,
    RunRecord,
    Trial,
    ValueRange,
    Variant,
    check_input_size,
    cited,
)
from bamsearch.records.arguments import checked
from bamsearch.records.audit_files import audits_of
from bamsearch.records.run_files import place_of
from bamsearch.records.sources import name_of
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunDocument
from bamsearch.score.scorer import check_score, takes_network
from bamsearch.space.measured_costs import LatencySettings
from bamsearch.study.estimate import estimated_seconds
from bamsearch.study.folder import REPORTED, RunFolder, find_folder, named_run_folder
from bamsearch.study.request import (
    SearchPlan,
    SearchRequest,
    plan_of_run,
    plan_search,
    search_device,
)
from bamsearch.study.resume import check_base, check_options, same_search, with_trials
from bamsearch.study.run import Finished, SearchOptions, run_from_database, run_search, start_run
from bamsearch.study.storage import check_driver
from bamsearch.training.recipe import DEFAULT_RECIPE, find_recipe

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.data.datasets import Datasets
    from bamsearch.data.splits import Data
else:
    Datasets = Any  # checked when the data are opened, so that this module does not load torch


@checked
@with_stated
def search(  # noqa: PLR0913
    _stated: Set[str],
    model: str | nn.Module = "resnet101",
    *,
    budget_gflops: float | str | None = None,
    budget_params: float | str | None = None,
    budget_memory: float | str | None = None,
    budget_ms: float | str | None = None,
    space: str = "stages",
    with_stem: bool = False,
    score: str | Callable[..., float] | None = None,
    objectives: Sequence[Objective] = ("score",),
    sampler: str | None = None,
    trials: int | None = None,
    until: float | None = None,
    seed: int = 0,
    input_size: tuple[int, int] | int | None = None,
    num_classes: int | None = None,
    data: str | Datasets | None = None,
    download: bool = False,
    value_range: ValueRange | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    variant: Variant = "paper",
    init: Init = "paper",
    compare_random: bool | None = None,
    device: str = "auto",
    threads: int = 1,
    batch_size: int = 1,
    dtype: DType = "float32",
    mode: Mode = "eager",
    jobs: int = 1,
    heartbeat: int = 20,
    timeout: float | None = None,
    callbacks: Sequence[Callable[[Trial], object]] = (),
    verbose: bool = False,
    view: SearchView | None = None,
    command: str = "bamsearch.search",
    name: str | bool = False,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    storage: str | None = None,
    resume: str | os.PathLike[str] | bool = False,
    dry_run: bool = False,
) -> SearchResult:
    """Search for the r, d and placement with the best score within the budgets.

    The same call continues a search that was interrupted in its folder. Ctrl-C leaves a folder
    that can be resumed.

    Args:
        model: MODEL or a module, which is not modified.
        budget_gflops: 10^9 multiply-adds per input (fvcore's total), or ``"+2%"``.
        budget_params: parameters, such as ``45e6``, ``"45M"`` or ``"+2%"``.
        budget_memory: bytes kept for backward in one training step per input, such as
            ``"200MiB"``.
        budget_ms: milliseconds per input on the device, batch size 1, or ``"+2%"``.
        space: name of a search space, or a TOML file.
        with_stem: add the stem to the space.
        score: name of a score, or a function or its name, ``package.module:function`` or
            ``FILE.py:function``. A function with one required positional parameter gets the design,
            another gets the network in train mode and the design. Higher is better; an exception
            fails the trial. None is train if there are data, else params.
        objectives: objectives; several of score, gflops and params give a Pareto front.
        sampler: gp, tpe, nsga2, sorted, random or exhaustive; None chooses.
        trials: total number of trials; None is 100, 40 with score train, or the run's on resume.
        until: with score train, stop when the expected regret of stopping is below this many
            points of accuracy.
        seed: random seed.
        input_size: (H, W), or one number for both; None is the model's default.
        num_classes: classes of the head of a MODEL; None is the model's default.
        data: name of a data set, a torch Dataset of (image, label), or a pair of them for training
            and validation. It sets input_size and num_classes, and score train trains on it; see
            :func:`bamsearch.data.loading.load_data`.
        download: download data that are missing.
        value_range: (lo, hi), values mapped to black and white in images of more than 8 bits; None
            is the range of their type, if the data set fills it.
        recipe: training recipe of score train; None is the short one.
        epochs: overrides the recipe's number of epochs.
        variant: variant of BAM.
        init: initialisation of BAM.
        compare_random: run a random search of the same length too; None runs it unless it needs
            trainings or the score is params or macs.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; auto prefers a GPU.
        threads: torch threads on a CPU.
        batch_size: inputs per call that budget_ms is for.
        dtype: data type of weights and inputs that budget_ms is for.
        mode: execution mode that budget_ms is for: eager, compile or cudagraph.
        jobs: number of processes that score designs; they need a model and a score with names.
        heartbeat: seconds between the heartbeats of a worker; one that misses three is dead.
        timeout: seconds after which no further trial starts.
        callbacks: called with each finished trial, on resume with earlier ones too; one that
            returns True stops the search.
        verbose: show a progress bar, in a terminal or a notebook.
        view: follows the search instead; see :class:`bamsearch.SearchView`.
        command: command line to record.
        name: name of the run, whose folder is runs/NAME; True is the first free MODEL-BUDGET-NNN.
        output: folder of the run. Without name, output and resume, nothing is kept on disk.
        force: start an earlier run in the folder again.
        storage: database URL; None is a file in the folder.
        resume: name or folder of the run to resume, or True for that in output or under name. It
            has its recorded options; trials is the new total, and other options that are stated
            must agree.
        dry_run: determine the feasible designs and the estimated duration, and write nothing.

    Returns:
        The trials, the best one, and the baselines; a kept run has its report beside it.

    Raises:
        NoSiteError: the model or the space has no site for BAM.
        NothingFitsError: no design is within the budgets.
        InvalidValueError: an option out of range, or options that exclude each other.
        RunError: no run to resume, or it has another model or another option.
        OutputError: the folder has a finished run, or other files.
        KeyboardInterrupt: Ctrl-C.
        BamsearchError: errors of building, scoring and training; the message names the cause.
    """
    options = locals()
    _check_together(options)
    view = view or (ProgressView() if verbose else SearchView())
    target = model if isinstance(model, str) else type(model).__name__
    with view.work(f"determining the feasible designs of {target}"):
        folder, recorded = _find_run(options)
        request, loaded = _request(options, recorded)
        if folder is not None and recorded is not None:
            plan = _resumed(request, folder, recorded, options, view)
        else:
            plan = _planned(request, folder, options, view)
        _check_storage(plan.run, storage)
    view.plan(plan, None if folder is None else folder.path)
    execution = _execution(options, loaded, view)
    if dry_run:
        with view.work("timing one score"):
            seconds = estimated_seconds(plan, execution)
        return SearchResult(RunRecord(plan.run), None, execution.module, seconds)
    is_temporary = folder is None and name is not True
    with tempfile.TemporaryDirectory() if is_temporary else nullcontext() as parent:
        if parent is not None:
            folder = RunFolder(Path(parent) / "search")
        if folder is not None and recorded is not None and not folder.is_run:
            folder.create(recorded)  # started on another machine
        if folder is None or force or not folder.is_run:
            folder = start_run(plan.run, folder, storage, force=force)
        record = _search(plan, folder, execution, view, with_report=not is_temporary)
    return SearchResult(record, None if is_temporary else folder.path, execution.module)


def _execution(options: Mapping[str, Any], loaded: Data | None, view: SearchView) -> SearchOptions:
    """How the search runs: it ends after its time, or when a callback returns True."""
    timeout, score = options["timeout"], options["score"]
    end = math.inf if timeout is None else time.monotonic() + timeout
    stopped = False

    def watch(finished: Sequence[Finished]) -> None:
        nonlocal stopped
        view.watch(finished)
        for kind, trial in finished:
            if kind is None:
                stopped |= True in [callback(trial) for callback in options["callbacks"]]

    return SearchOptions(
        url=options["storage"],
        jobs=options["jobs"],
        module=_module(options),
        data=loaded,
        score=score if callable(score) else None,
        stop=lambda: stopped or time.monotonic() >= end,
        watch=watch,
        follow=view.follow,
    )


def _module(options: Mapping[str, Any]) -> nn.Module | None:
    return None if isinstance(options["model"], str) else options["model"]


def _check_together(options: Mapping[str, Any]) -> None:
    """Raise InvalidValueError for options of :func:`search` that exclude each other."""
    _check_folder(options)
    sampler, score = options["sampler"], options["score"]
    if not isinstance(options["model"], str) and options["num_classes"] is not None:
        raise InvalidValueError("num_classes is for a MODEL: a module has its head, omit it")
    for name in ("jobs", "threads", "batch_size", "heartbeat"):
        if options[name] < 1:
            raise InvalidValueError(f"{name}={options[name]}: give at least 1")
    if options["jobs"] > 1 and not all(
        isinstance(options[name], str | None) for name in ("model", "score", "data")
    ):
        raise InvalidValueError("jobs is for names of MODEL, score and data: workers load them")
    if options["compare_random"] and sampler in ("random", "exhaustive"):
        raise InvalidValueError(f"`compare_random` is not for sampler {sampler}: omit it")
    if not isinstance(score, str | None):
        takes_network(score)


def _check_folder(options: Mapping[str, Any]) -> None:
    """The same for the options that choose the folder of the run."""
    resume = options["resume"]
    folders = [options["name"] is not False, options["output"] is not None]
    if sum([*folders, not isinstance(resume, bool)]) > 1:
        raise InvalidValueError("`resume`, `name` and `output`: choose one")
    if resume is not False and options["force"]:
        raise InvalidValueError("`resume` continues a run, `force` starts it again: choose one")
    if resume is True and (not any(folders) or options["name"] is True):
        raise InvalidValueError("resume=True needs output: the folder of the run")
    if options["storage"] is not None and not any(folders) and resume is False:
        raise InvalidValueError("storage needs output: the folder's name is the name of the run")


def _check_storage(run: Run, storage: str | None) -> None:
    if run.storage is not None and storage is None:
        raise InvalidValueError(
            f"run {run.name} is stored in {run.storage}: give its URL with `storage`"
        )


def _find_run(options: Mapping[str, Any]) -> tuple[RunFolder | None, Run | None]:
    """The folder, None if it has no name yet, and the run to resume, if any."""
    resume, storage, name = options["resume"], options["storage"], options["name"]
    folder = None
    if options["output"] is not None:
        folder = RunFolder(Path(options["output"]))
    elif isinstance(name, str):
        folder = named_run_folder(name)
    if isinstance(resume, bool):
        return folder, folder.read_run() if resume and folder is not None else None
    resume = os.fspath(resume)
    try:
        folder = find_folder(resume)
        return folder, folder.read_run()
    except RunError:
        if storage is None:
            raise
    return named_run_folder(resume), run_from_database(resume, storage)


def _request(options: Mapping[str, Any], recorded: Run | None) -> tuple[SearchRequest, Data | None]:
    """The options with names for objects, and the data if no name loads them."""
    model, score, data = options["model"], options["score"], options["data"]
    recipe, epochs, value_range = options["recipe"], options["epochs"], options["value_range"]
    if data is not None and recorded is not None and recorded.data is not None:
        value_range = value_range or recorded.data.value_range
    size, loaded = options["input_size"], None
    size = None if size is None else check_input_size(size)
    if not isinstance(data, str | None):
        from bamsearch.data.loading import load_data

        data = loaded = load_data(data, input_size=size, value_range=value_range)
    size, classes, facts = resolve(
        data, size, options["num_classes"], download=options["download"], value_range=value_range
    )
    score = score if isinstance(score, str | None) else name_of(score)
    budgets = {quantity: options[f"budget_{quantity}"] for quantity in get_args(Quantity)}
    device = search_device(
        options["device"], score, trains=facts is not None, timed=budgets["ms"] is not None
    )
    conditions = {name: options[name] for name in ("batch_size", "dtype", "mode", "threads")}
    trains = recipe is not None or epochs is not None
    resolved = {
        "model": model if isinstance(model, str) else name_of(type(model)),
        "budgets": {
            key: _budget_text(value) for key, value in budgets.items() if value is not None
        },
        "score": score,
        "objectives": tuple(options["objectives"]),
        "input_size": size,
        "num_classes": classes if isinstance(model, str) else None,
        "data": facts,
        "recipe": find_recipe(recipe or DEFAULT_RECIPE).changed(epochs=epochs) if trains else None,
        "timing": LatencySettings(device, **conditions),
    }
    values = {**options, **resolved}
    return SearchRequest(**{f.name: values[f.name] for f in fields(SearchRequest)}), loaded


def _resumed(
    request: SearchRequest,
    folder: RunFolder,
    run: Run,
    options: Mapping[str, Any],
    view: SearchView,
) -> SearchPlan:
    """Plan the continuation of a recorded run, whose options must not differ."""
    if _module(options) is not None:
        request = replace(request, model=_recorded(request.model, run.model))
    if request.score is not None and not isinstance(options["score"], str):
        request = replace(request, score=_recorded(request.score, run.score))
    check_options(run, request, options["_stated"])
    view.execute(run.model, run.score)
    view.resume(run, folder.path, requested=True)
    plan = plan_of_run(run)
    check_base(run)
    return with_trials(plan, request.trials, request.until)


def _planned(
    request: SearchRequest, folder: RunFolder | None, options: Mapping[str, Any], view: SearchView
) -> SearchPlan:
    """Plan a new search, or the continuation of the same unfinished search in its folder."""
    storage, force = options["storage"], options["force"]
    if isinstance(options["score"], str):
        check_score(options["score"])
    if storage is not None:
        check_driver(storage)
    unfinished = folder is not None and folder.is_run and not folder.ended and not force
    if folder is not None and not unfinished:
        folder.check_new(force=force)
    plan = plan_search(request, _module(options), options["command"])
    if folder is None or not unfinished:
        return replace(plan, run=replace(plan.run, audit=_newest_audit(plan.run)))
    recorded = folder.read_run()
    if not same_search(plan.run, recorded):
        folder.check_new(force=False)
    view.resume(recorded, folder.path, requested=False)
    return plan_of_run(recorded)


def _newest_audit(run: Run) -> Cited | None:
    """The newest audit below ``audits/`` of the run's network, space and score."""
    citations = (cited(audit, run.score, run.budgets) for audit in reversed(audits_of(run)))
    return next((citation for citation in citations if citation is not None), None)


def _search(
    plan: SearchPlan,
    folder: RunFolder,
    execution: SearchOptions,
    view: SearchView,
    *,
    with_report: bool,
) -> RunRecord:
    """Search, and write the report, even if Ctrl-C ends the search."""
    try:
        with view.search(replace(plan.run, name=folder.name), folder.path):
            record = run_search(plan, folder, execution)
    except KeyboardInterrupt:
        if with_report:
            _write_report(folder, folder.read_record(), view)
        raise
    if with_report:
        _write_report(folder, record, view)
    return record


def _write_report(folder: RunFolder, record: RunRecord, view: SearchView) -> None:
    report = make_report(record, place_of(folder.path))
    files = write_beside(RunDocument(report, folder.path), view)
    if files:
        folder.log(REPORTED)
    view.report(report, folder.path, files)


def _recorded(name: str, recorded: str) -> str:
    """The recorded name if both end alike: a function or class may be imported from elsewhere."""
    return recorded if name.rpartition(":")[2] == recorded.rpartition(":")[2] else name


def _budget_text(value: float | str) -> str:
    """A budget as on the command line: 45e6 as 45000000."""
    if isinstance(value, str):
        return value
    return f"{value:.6f}".rstrip("0").rstrip(".")
