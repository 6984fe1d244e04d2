"""The public function ``search``."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from bamsearch.api.result import SearchResult
from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError
from bamsearch.records import (
    Init,
    Objective,
    Quantity,
    Trial,
    ValueRange,
    Variant,
    check_input_size,
)
from bamsearch.records.arguments import checked
from bamsearch.records.sources import name_of
from bamsearch.score.scorer import takes_network
from bamsearch.space.measured_costs import LatencySettings
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import (
    SearchRequest,
    check_base,
    plan_of_run,
    plan_search,
    search_device,
    with_trials,
)
from bamsearch.study.resume import check_same, recorded_range
from bamsearch.study.run import Finished, SearchOptions, run_search, start_run
from bamsearch.training.recipe import DEFAULT_RECIPE, find_recipe

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.data.datasets import Datasets
else:
    Datasets = Any  # checked when the data are opened, so that this module does not load torch


@checked
def search(  # noqa: PLR0913
    model: str | nn.Module,
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
    value_range: ValueRange | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    variant: Variant = "paper",
    init: Init = "paper",
    compare_random: bool | None = None,
    device: str = "auto",
    threads: int = 1,
    jobs: int = 1,
    timeout: float | None = None,
    callbacks: Sequence[Callable[[Trial], object]] = (),
    verbose: bool = False,
    output: str | os.PathLike[str] | None = None,
    storage: str | None = None,
    resume: bool = False,
) -> SearchResult:
    """Search for the r, d and placement with the best score within the budgets.

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
        jobs: number of processes that score designs; they need a model and a score with names.
        timeout: seconds after which no further trial starts.
        callbacks: called with each finished trial, on resume with earlier ones too; one that
            returns True stops the search.
        verbose: show a progress bar, in a terminal or a notebook.
        output: folder of the run; None keeps nothing on disk.
        storage: database URL; None is a file in the folder.
        resume: resume the run in output with its recorded options; trials is the new total, and
            other options may be left out.

    Returns:
        The trials, the best one, and the baselines.

    Raises:
        NoSiteError: the model or the space has no site for BAM.
        NothingFitsError: no design is within the budgets.
        InvalidValueError: storage or resume without output; an option out of range.
        RunError: another option or model than in the run to resume.
        BamsearchError: errors of building, scoring and training; the message names the cause.
    """
    arguments = locals()
    typed = {
        name for name, p in signature(search).parameters.items() if arguments[name] != p.default
    }
    module = None if isinstance(model, str) else model
    _check_together(arguments)
    if input_size is not None:
        input_size = check_input_size(input_size)
    budgets: dict[Quantity, float | str | None] = {
        "gflops": budget_gflops,
        "params": budget_params,
        "memory": budget_memory,
        "ms": budget_ms,
    }
    if resume and data is not None and value_range is None:
        value_range = recorded_range(os.fspath(output or ""))
    loaded = None
    if data is not None and not isinstance(data, str):
        from bamsearch.data.loading import load_data

        loaded = load_data(data, input_size=input_size, value_range=value_range)
        input_size, classes, facts = resolve(loaded, input_size, num_classes)
    else:
        input_size, classes, facts = resolve(data, input_size, num_classes, value_range=value_range)
    if module is None:
        num_classes = classes
    trains = recipe is not None or epochs is not None
    name = score if isinstance(score, str | None) else name_of(score)
    request = SearchRequest(
        model=model if isinstance(model, str) else name_of(type(model)),
        budgets={key: _typed(value) for key, value in budgets.items() if value is not None},
        space=space,
        with_stem=with_stem,
        score=name,
        objectives=tuple(objectives),
        sampler=sampler,
        trials=trials,
        until=until,
        seed=seed,
        input_size=input_size,
        num_classes=num_classes,
        variant=variant,
        init=init,
        compare_random=compare_random,
        data=facts,
        recipe=find_recipe(recipe or DEFAULT_RECIPE).changed(epochs=epochs) if trains else None,
        timing=LatencySettings(
            search_device(device, name, trains=facts is not None, timed=budget_ms is not None),
            threads=threads,
        ),
    )
    watcher = _Watcher(callbacks, timeout)
    options = SearchOptions(
        url=storage,
        jobs=jobs,
        module=module,
        data=loaded,
        score=score if callable(score) else None,
        stop=watcher.stops,
        watch=watcher.watch,
    )
    if resume:
        with watcher.bar(verbose):
            return _resumed(output, request, options, typed)
    planned = plan_search(request, module, command="bamsearch.search")
    parent = nullcontext(output) if output is not None else tempfile.TemporaryDirectory()
    with parent as path:
        directory = Path(path) if output is not None else Path(path) / "search"
        folder = start_run(planned.run, RunFolder(directory), storage)
        with watcher.bar(verbose, planned.run.scores):
            record = run_search(planned, folder, options)
    return SearchResult(record, None if output is None else folder.path, module)


class _Watcher:
    """Callbacks, the progress bar and the end of a search."""

    def __init__(
        self, callbacks: Sequence[Callable[[Trial], object]], timeout: float | None
    ) -> None:
        self._callbacks = callbacks
        self._end = math.inf if timeout is None else time.monotonic() + timeout
        self._stopped = False
        self._advance: Callable[[int], object] = lambda number: None

    def stops(self) -> bool:
        return self._stopped or time.monotonic() >= self._end

    def watch(self, finished: Sequence[Finished]) -> None:
        self._advance(len(finished))
        for kind, trial in finished:
            if kind is None:
                answers = [callback(trial) for callback in self._callbacks]
                self._stopped |= True in answers

    @contextmanager
    def bar(self, verbose: bool, total: int | None = None) -> Iterator[None]:
        with Progress(console=Console(stderr=True), disable=not verbose) as progress:
            self._advance = partial(progress.advance, progress.add_task("searching", total=total))
            yield


def _check_together(options: Mapping[str, Any]) -> None:
    """Raise InvalidValueError for options of :func:`search` of which one would be ignored."""
    sampler, score = options["sampler"], options["score"]
    if options["storage"] is not None and options["output"] is None:
        raise InvalidValueError("storage needs output: the folder's name is the name of the run")
    if not isinstance(options["model"], str) and options["num_classes"] is not None:
        raise InvalidValueError("num_classes is for a MODEL: a module has its head, omit it")
    for name in ("jobs", "threads"):
        if options[name] < 1:
            raise InvalidValueError(f"{name}={options[name]}: give at least 1")
    if options["jobs"] > 1 and not all(
        isinstance(options[name], str | None) for name in ("model", "score", "data")
    ):
        raise InvalidValueError("jobs is for names of MODEL, score and data: workers load them")
    if options["compare_random"] and sampler in ("random", "exhaustive"):
        raise InvalidValueError(f"compare_random is not for sampler {sampler}: omit it")
    if not isinstance(score, str | None):
        takes_network(score)


def _resumed(
    output: str | os.PathLike[str] | None,
    request: SearchRequest,
    options: SearchOptions,
    typed: Set[str],
) -> SearchResult:
    if output is None:
        raise InvalidValueError("resume=True needs output: the folder of the run")
    folder = RunFolder(Path(output))
    run = folder.read_run()
    model = _recorded(request.model, run.model) if options.module is not None else request.model
    if options.score is not None:
        request = replace(request, score=_recorded(request.score, run.score))
    check_same(run, request, model, typed.__contains__)
    planned = with_trials(plan_of_run(run), request.trials, request.until)
    check_base(run)
    return SearchResult(run_search(planned, folder, options), folder.path, options.module)


def _recorded(name: str | None, recorded: str) -> str | None:
    """The recorded name if both end alike: a function or class may be imported from elsewhere."""
    alike = name is not None and name.rpartition(":")[2] == recorded.rpartition(":")[2]
    return recorded if alike else name


def _typed(value: float | str) -> str:
    """A budget as it would be typed: 45e6 as 45000000."""
    if isinstance(value, str):
        return value
    return f"{value:.6f}".rstrip("0").rstrip(".")
