"""Search from Python: :func:`bamsearch.search`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError
from bamsearch.records import (
    Design,
    Init,
    Objective,
    Quantity,
    ReferenceKind,
    RunRecord,
    Trial,
    ValueRange,
    Variant,
)
from bamsearch.records.sources import name_of
from bamsearch.searching.folder import RunFolder
from bamsearch.searching.request import (
    Planned,
    Request,
    check_base,
    more_trials,
    plan_search,
    planned_again,
)
from bamsearch.searching.run import Work, run_search
from bamsearch.training.recipe import DEFAULT_RECIPE, find_recipe

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        record: the run and all its trials.
        folder: folder of the run; None if it was not kept.
    """

    record: RunRecord
    folder: Path | None

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

    def reference(self, kind: ReferenceKind) -> Trial | None:
        """A baseline: base, paper, largest, or the best of random."""
        return self.record.reference(kind)


def search(  # noqa: PLR0913
    model: str | nn.Module,
    *,
    budget_gflops: float | str | None = None,
    budget_params: float | str | None = None,
    budget_memory: float | str | None = None,
    space: str = "stages",
    with_stem: bool = False,
    score: str | Callable[[Design], float] | None = None,
    objectives: Sequence[Objective] = ("score",),
    sampler: str | None = None,
    trials: int | None = None,
    until: float | None = None,
    seed: int = 0,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    data: str | None = None,
    value_range: ValueRange | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    variant: Variant = "paper",
    init: Init = "paper",
    compare_random: bool | None = None,
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
        space: name of a search space, or a TOML file.
        with_stem: add the stem to the space.
        score: name of a score, ``package.module:function`` or ``FILE.py:function`` for a function
            of (module, design), or a callable of the design. Higher is better; an exception fails
            the trial. None is train if there are data, else params.
        objectives: objectives; several of score, gflops and params give a Pareto front.
        sampler: gp, tpe, nsga2, sorted, random or exhaustive; None chooses.
        trials: total number of trials; None is 100, 40 with score train, or the run's on resume.
        until: with score train, stop when the expected regret of stopping is below this many
            points of accuracy.
        seed: random seed.
        input_size: (H, W); None is the model's default.
        num_classes: classes of the head; None is the model's default.
        data: name of a data set, which sets input_size and num_classes and is trained on by score
            train; see :func:`bamsearch.data.loading.load_data`.
        value_range: (lo, hi), values mapped to black and white in images of more than 8 bits; None
            is the range of their type, if the data set fills it.
        recipe: training recipe of score train; None is the short one.
        epochs: overrides the recipe's number of epochs.
        variant: variant of BAM.
        init: initialisation of BAM.
        compare_random: run a random search of the same length too; None runs it unless it needs
            trainings or the score is params or macs.
        output: folder of the run; None keeps nothing on disk.
        storage: database URL; None is a file in the folder.
        resume: resume the run in output with its recorded options; trials is the new total.

    Returns:
        The trials, the best one, and the baselines.

    Raises:
        NoSiteError: the model or the space has no site for BAM.
        NothingFitsError: no design is within the budgets.
        InvalidValueError: storage or resume without output; an option out of range.
        BamsearchError: errors of building, scoring and training; the message names the cause.
    """
    if storage is not None and output is None:
        raise InvalidValueError("storage needs output: the folder's name is the name of the run")
    module = None if isinstance(model, str) else model
    budgets: dict[Quantity, float | str | None] = {
        "gflops": budget_gflops,
        "params": budget_params,
        "memory": budget_memory,
    }
    name = score if score is None or isinstance(score, str) else name_of(score)
    input_size, num_classes, facts = resolve(data, input_size, num_classes, value_range=value_range)
    trains = recipe is not None or epochs is not None
    request = Request(
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
    )
    how = Work(url=storage, module=module, score=score if callable(score) else None)
    if resume:
        return _resumed(output, trials, until, how)
    planned = plan_search(request, module, command="bamsearch.search")
    parent = nullcontext(output) if output is not None else tempfile.TemporaryDirectory()
    with parent as path:
        folder = RunFolder(Path(path) if output is not None else Path(path) / "search")
        folder.create()
        record = run_search(planned, folder, how)
    return SearchResult(record, None if output is None else folder.path)


def _resumed(
    output: str | os.PathLike[str] | None, trials: int | None, until: float | None, how: Work
) -> SearchResult:
    if output is None:
        raise InvalidValueError("resume=True needs output: the folder of the run")
    folder = RunFolder(Path(output))
    run = folder.read_run()
    planned = with_trials(planned_again(run), trials, until)
    check_base(run)
    return SearchResult(run_search(planned, folder, how), folder.path)


def with_trials(planned: Planned, trials: int | None, until: float | None = None) -> Planned:
    """A recorded run with a new total number of trials; see :func:`more_trials`."""
    base = planned.space.picks(())
    count = planned.feasible.count - (base is not None)
    return replace(planned, run=more_trials(planned.run, trials, count, until))


def _typed(value: float | str) -> str:
    """A budget as it would be typed: 45e6 as 45000000."""
    if isinstance(value, str):
        return value
    return f"{value:.6f}".rstrip("0").rstrip(".")
