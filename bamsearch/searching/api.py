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
    """What a search found.

    Attributes:
        record: the run and every trial.
        folder: where it is on disk; None if it was not kept.
    """

    record: RunRecord
    folder: Path | None

    @property
    def best(self) -> Trial | None:
        """The design with the best score; None if every trial failed."""
        return self.record.best

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The search's own trials, in the order in which they finished."""
        return self.record.trials

    @property
    def pareto(self) -> list[Trial]:
        """The trials that no other one beats in all objectives, or in score and multiply-adds."""
        return self.record.pareto()

    def reference(self, kind: ReferenceKind) -> Trial | None:
        """What the search is compared with: base, paper, largest, or the best of random."""
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
    """Find the r, d and placement with the best score among the designs that fit.

    Args:
        model: a MODEL, or a module; it is not changed.
        budget_gflops: 10^9 multiply-adds for one input (fvcore's total), or ``"+2%"``.
        budget_params: parameters, such as ``45e6``, ``"45M"`` or ``"+2%"``.
        budget_memory: bytes that a training step keeps for one input, such as ``"200MiB"``.
        space: the name of a space or a TOML file.
        with_stem: add the stem to the space.
        score: a score's name, ``package.module:function`` or ``FILE.py:function`` for a function of
            (module, design), or a callable that is given the design. Higher is better; an exception
            is a failed trial. None is train where there are data, else params.
        objectives: what is searched for; several of score, gflops and params give a Pareto front.
        sampler: gp, tpe, nsga2, sorted, random or exhaustive; None decides.
        trials: how many in all; None is 100, 40 with score train, or with resume what the run has.
        until: with score train, stop when the expected regret of stopping is below so many points
            of accuracy.
        seed: of everything random.
        input_size: (H, W); None is the model's own.
        num_classes: of the head that is built; None is the model's own.
        data: name of a data set, which sets input_size and num_classes, and which score train
            trains on; see :func:`bamsearch.data.loading.load_data`.
        value_range: (lo, hi), values that become black and white in images of more than 8 bits;
            None: the range of their type, if the whole set fills it.
        recipe: training recipe of score train; None is the short one.
        epochs: other than the recipe's.
        variant: which BAM.
        init: how it starts.
        compare_random: run a random search of the same length too; None: unless that trains.
        output: folder of the run; None keeps nothing on disk.
        storage: URL of a database; None is a file in the folder.
        resume: go on with the run in output, as it was asked for; trials is the new total.

    Returns:
        The trials, the best one, and what they are compared with.

    Raises:
        NoSiteError, NothingFitsError: there is nothing to search.
        InvalidValueError: storage, or resume, without output; a number out of range.
        BamsearchError: what its words say.
    """
    if storage is not None and output is None:
        raise InvalidValueError("a search in a database has a name: give its folder as output")
    module = None if isinstance(model, str) else model
    budgets: dict[Quantity, float | str | None] = {
        "gflops": budget_gflops,
        "params": budget_params,
        "memory": budget_memory,
    }
    name = score if score is None or isinstance(score, str) else _name_of(score)
    input_size, num_classes, facts = resolve(data, input_size, num_classes, value_range=value_range)
    trains = recipe is not None or epochs is not None
    request = Request(
        model=model if isinstance(model, str) else _name_of(type(model)),
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
    keep = nullcontext(output) if output is not None else tempfile.TemporaryDirectory()
    with keep as place:
        folder = RunFolder(Path(place) if output is not None else Path(place) / "search")
        folder.create()
        record = run_search(planned, folder, how)
    return SearchResult(record, None if output is None else folder.path)


def _resumed(
    output: str | os.PathLike[str] | None, trials: int | None, until: float | None, how: Work
) -> SearchResult:
    if output is None:
        raise InvalidValueError("resume=True needs the folder of the run as output")
    folder = RunFolder(Path(output))
    run = folder.read_run()
    planned = with_trials(planned_again(run), trials, until)
    check_base(run)
    return SearchResult(run_search(planned, folder, how), folder.path)


def with_trials(planned: Planned, trials: int | None, until: float | None = None) -> Planned:
    """A run that is there with more trials in all; see :func:`more_trials`."""
    nothing = planned.space.picks(())
    count = planned.feasible.count - (nothing is not None)
    return replace(planned, run=more_trials(planned.run, trials, count, until))


def _typed(value: float | str) -> str:
    """A budget as it would be typed: 45e6 as 45000000."""
    if isinstance(value, str):
        return value
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _name_of(thing: Callable[..., object]) -> str:
    """``module:name`` of a function or a class: a design says so that it is of no named MODEL."""
    name = getattr(thing, "__qualname__", type(thing).__name__)
    return f"{getattr(thing, '__module__', '?')}:{name}"
