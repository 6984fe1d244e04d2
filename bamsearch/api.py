"""The work of the commands from Python: search, train, verify and audit."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from inspect import signature
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import Progress

from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError, NothingToDoError
from bamsearch.records import (
    BaselineKind,
    Design,
    Init,
    Objective,
    Quantity,
    RunRecord,
    Trial,
    ValueRange,
    Variant,
    check_choice,
    check_input_size,
)
from bamsearch.records.arguments import checked
from bamsearch.records.sources import name_of
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_table import csv_text
from bamsearch.reporting.text import design_text, giga, mega, score_text, title
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
from bamsearch.training.progress import Progress as TrainingProgress
from bamsearch.training.recipe import DEFAULT_RECIPE, find_recipe

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from bamsearch.data.datasets import Datasets
    from bamsearch.records import Audit, Evidence
    from bamsearch.training.engine import Trained
else:
    Datasets = Any  # checked when the data are opened, so that this module does not load torch


class Picture(str):
    """An SVG as text, which notebooks display."""

    def _repr_svg_(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The result of a search; notebooks display it with its chart.

    Attributes:
        record: the run and all its trials.
        folder: folder of the run; None if it was not kept.
        module: the searched module, if no MODEL names it.
    """

    record: RunRecord
    folder: Path | None
    module: nn.Module | None = None

    def __fspath__(self) -> str:
        if self.folder is None:
            raise InvalidValueError("the result has no folder: search again with output=DIR")
        return str(self.folder)

    def __repr__(self) -> str:
        run, best, base = self.record.run, self.best, self.baseline("base")
        ranked = [(name, trial) for name, trial in (("best", best), ("base", base)) if trial]
        return "\n".join(
            [
                f"SearchResult of {title(run)}",
                f"  {len(self.trials)} of {run.trials} trials, score {run.score}, "
                f"sampler {run.sampler}, seed {run.seed}",
                *(
                    f"  {name} {score_text(trial.score)}: {design_text(trial.design)[:80]}, "
                    f"{mega(trial.params)} parameters, {giga(trial.macs)} GFLOPs"
                    for name, trial in ranked
                ),
                f"  folder {self.folder}" if self.folder else "  not kept on disk",
            ]
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>{self.plot()}"

    def plot(self, chart: Literal["pareto", "curve"] = "pareto") -> Picture:
        """A chart of the report as SVG.

        Args:
            chart: ``pareto``, all designs by score and cost, or ``curve``, the best score so far.
        """
        check_choice("chart", chart, ("pareto", "curve"))
        from bamsearch.reporting.charts.pareto_and_ranking import curve_svg, pareto_svg

        report = make_report(self.record, self.record.run.name)
        return Picture(pareto_svg(report) if chart == "pareto" else curve_svg(report))

    def to_dataframe(self) -> pandas.DataFrame:
        """All trials and baselines, one per row, with the columns of the report's trials.csv."""
        import pandas

        return pandas.read_csv(StringIO(csv_text([self.record])))

    def best_model(self) -> nn.Module:
        """The network of the best design: the searched module with BAM, or a newly built MODEL.

        A search stores no weights: those of a MODEL are random, as :func:`bamsearch.build` makes
        them; ``bamsearch train`` trains them.

        Raises:
            NothingToDoError: no trial has a score.
        """
        if self.best is None:
            raise NothingToDoError("no trial has a score yet, so there is no best design")
        from bamsearch.graph.designs import build
        from bamsearch.graph.insertion import insert_bam

        design = self.best.design
        return build(design) if self.module is None else insert_bam(self.module, design=design)

    @property
    def best(self) -> Trial | None:
        """The trial with the best score; None if every trial failed."""
        return self.record.best

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The search's own trials, in the order in which they finished."""
        return self.record.trials

    @property
    def pareto(self) -> list[Trial]:
        """The Pareto-optimal trials: in the objectives, or in score and multiply-adds."""
        return self.record.pareto()

    def baseline(self, kind: BaselineKind) -> Trial | None:
        """A baseline: base, paper, largest, or the best of random."""
        return self.record.baseline(kind)


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


@checked
def train(
    network: str | os.PathLike[str] | Design | nn.Module,
    data: str | Datasets,
    *,
    output: str | os.PathLike[str] | None = None,
    device: str = "auto",
    resume: bool = False,
    callback: Callable[[TrainingProgress], None] | None = None,
    **options: Any,
) -> Trained:
    """Train a network with a recipe, as ``bamsearch train`` does.

    Args:
        network: a design, its file or folder, a run, a MODEL, or a module, of which a copy is
            trained.
        data: the data, as in :func:`search`.
        output: folder of the training; None keeps nothing on disk.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        resume: continue the training in output; other options may be left out.
        callback: called with the progress every few steps and after every epoch.
        options: fields of :class:`bamsearch.training.request.TrainingRequest`, such as recipe,
            epochs, batch_size, lr, precision, weights and seed.

    Returns:
        The trained network, its validation accuracy and the metrics of each epoch.

    Raises:
        InvalidValueError: resume without output, or an option out of range.
        BamsearchError: see :func:`bamsearch.training.engine.train`.
    """
    from torch import nn

    from bamsearch.training.engine import train as run
    from bamsearch.training.folder import TrainingFolder
    from bamsearch.training.request import (
        TrainingRequest,
        load_for,
        plan_resumed,
        plan_training,
    )

    if resume and output is None:
        raise InvalidValueError("resume=True needs output: the folder of the training")
    folder = None if output is None else TrainingFolder(Path(output), command="bamsearch.train")
    start = partial(run, device=device, output=folder, resume=resume, watch=callback)
    if isinstance(network, nn.Module):
        request = checked(TrainingRequest)(None, data, **options)
        images = load_for(data, None, request.download, value_range=request.value_range)
        recipe = request.changed(find_recipe(request.recipe or DEFAULT_RECIPE))
        return start(network, images, recipe, seed=request.seed or 0)
    named = network if isinstance(network, Design) else os.fspath(network)
    request = checked(TrainingRequest)(named, data, **options)
    resumed = plan_resumed(request, folder) if resume and folder is not None else None
    planned = resumed or plan_training(request)
    return start(planned.initial, planned.data, planned.recipe, seed=planned.seed)


@checked
def verify(
    run: str | os.PathLike[str], data: str | Datasets | None = None, **options: Any
) -> Evidence:
    """Train the best design of a run and its baselines in pairs, and test whether it helps.

    The evidence is written into the folder of the run; the same call continues after an
    interruption, and repeats nothing once it is finished.

    Args:
        run: name or folder of a run, or a result with a folder; that of a module must be a result,
            whose module gives all networks their weights.
        data: the data, as in :func:`search`; None is that of the run, if it has a name.
        options: fields of :class:`bamsearch.evidence.verify.request.VerifyRequest`, such as seeds,
            looks, recipe, epochs, weights, device, margin and over.

    Raises:
        InvalidValueError: a result without a folder, or an option out of range.
        BamsearchError: see :func:`bamsearch.evidence.verify.request.plan_verify`.
    """
    from bamsearch.evidence.verify.request import VerifyRequest, plan_verify
    from bamsearch.evidence.verify.run import run_verify

    options["module"] = run.module if isinstance(run, SearchResult) else None
    request = checked(VerifyRequest)(os.fspath(run), data, command="bamsearch.verify", **options)
    return run_verify(plan_verify(request))


@checked
def audit(
    model: str | os.PathLike[str],
    data: str | None = None,
    *,
    output: str | os.PathLike[str],
    jobs: int = 1,
    **options: Any,
) -> Audit:
    """Train a sample of designs, and measure which scores rank them as training does.

    Args:
        model: a MODEL; or the name or folder of a run, which sets model, space and budgets.
        data: name of the data; None is that of the run.
        output: folder of the audit; the same call continues an interrupted audit in it.
        jobs: number of training processes.
        options: fields of :class:`bamsearch.evidence.audit.request.AuditRequest`, such as designs,
            seeds, scores, space, epochs and ``budgets={"gflops": "8"}``.

    Raises:
        BamsearchError: see :func:`bamsearch.evidence.audit.request.plan_audit`.
    """
    from bamsearch.evidence.audit.folder import AuditFolder
    from bamsearch.evidence.audit.request import AuditRequest, plan_audit
    from bamsearch.evidence.audit.run import run_audit

    request = checked(AuditRequest)(os.fspath(model), data, command="bamsearch.audit", **options)
    return run_audit(plan_audit(request), AuditFolder(Path(output)), jobs=jobs)
