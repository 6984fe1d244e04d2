"""A search request, and the plan made from it: the run, its space and its feasible designs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from math import ceil
from platform import python_version
from typing import TYPE_CHECKING, Any, TypeVar

from bamsearch.data.resolving import check_model_fits_data
from bamsearch.errors import InvalidValueError, RunError
from bamsearch.profiling.summary import check_has_sites, summarise, summarise_base
from bamsearch.records import Budget, DataFacts, Init, Objective, Quantity, Run, Variant
from bamsearch.records.designs import Design, Insertion
from bamsearch.records.problems import Problem
from bamsearch.records.sources import source_of
from bamsearch.score.table import COSTS, DEFAULT_SCORE, SCORES
from bamsearch.space.budget import parse_budget
from bamsearch.space.choices import SearchSpace, with_costs
from bamsearch.space.feasible import Feasible, Listed, feasible
from bamsearch.space.measured_costs import LatencySettings, measure_costs
from bamsearch.space.space import SpaceFile, parse_space, read_space, search_space
from bamsearch.text import LARGEST_COUNT
from bamsearch.training.recipe import DEFAULT_RECIPE, Recipe, find_recipe

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.graph.base import Base

P = TypeVar("P", bound=Problem)

DEFAULT_TRIALS = 100

TRAINED_TRIALS = 40
"""Default with score ``train``: each trial is a training."""

DEFAULT_SAMPLER = "gp"
ANEW = "restore it, or start a new search with another `name`, or with `force` under this name"
_SHARED = ("objectives", "seed", "heartbeat", "data", "until")
"""Fields that a run takes from its request unchanged, besides those of the problem."""

_VERSIONS = ("bamsearch", "torch", "torchvision", "optuna", "fvcore")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Options of a search, as of :func:`bamsearch.search`, with names for objects.

    Attributes:
        budgets: budget texts as typed, by quantity.
        score: name of a score, or ``module:function``; None is train if there are data, else
            params.
        data: data set that determined ``input_size`` and ``num_classes``, if any.
        recipe: training recipe; None is the short one.
        timing: conditions of a latency budget; its device also scores.
    """

    model: str
    budgets: Mapping[Quantity, str] = field(default_factory=dict)
    space: str = "stages"
    with_stem: bool = False
    score: str | None = None
    objectives: tuple[Objective, ...] = ("score",)
    sampler: str | None = None
    trials: int | None = None
    until: float | None = None
    seed: int = 0
    input_size: tuple[int, int] | None = None
    num_classes: int | None = None
    data: DataFacts | None = None
    variant: Variant = "paper"
    init: Init = "paper"
    compare_random: bool | None = None
    recipe: Recipe | None = None
    heartbeat: int = 20
    timing: LatencySettings = field(default_factory=LatencySettings)


@dataclass(frozen=True)
class SearchPlan:
    """A search before it starts.

    Attributes:
        run: the run, not named yet.
        feasible: the feasible designs.
    """

    run: Run
    feasible: Feasible

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.feasible.space


def search_device(device: str, score: str | None, *, trains: bool, timed: bool) -> str:
    """The device of a search; scores that need no network skip the choice, as it loads torch."""
    entry = SCORES.get(score or ("train" if trains else DEFAULT_SCORE))
    if not timed and entry is not None and not entry.needs_module:
        return "cpu"
    from bamsearch.profiling.devices import resolve_device

    return str(resolve_device(device))


def plan_search(
    request: SearchRequest, module: nn.Module | None = None, command: str = ""
) -> SearchPlan:
    """Check a request and determine its feasible designs, before anything is scored.

    The input of a module is ``request.input_size``, 224x224 by default.

    Raises:
        NoSiteError: the model or the space has no site for BAM.
        NothingFitsError: no design is within the budgets.
        SpaceError: an invalid space.
        ModelError: the model cannot be built, traced or measured.
        DataError: the model has inputs of another shape than the data.
        InvalidValueError: options out of range, or that do not go together.
    """
    request = _with_score(request)
    _check(request, module)
    base = cache(partial(_base, request, module))
    # A score that is a cost needs no network, unless a budget measures it.
    runs = request.score not in COSTS or bool({"memory", "ms"} & request.budgets.keys())
    if module is None:
        size, classes = request.input_size, request.num_classes
        summary = summarise(request.model, size, classes, base=base if runs else None)
    else:
        summary = summarise_base(request.model, base())
    check_model_fits_data(request.data, summary)
    check_has_sites(summary)
    file = read_space(request.space)
    problem = Problem(
        name="",
        summary=summary,
        variant=request.variant,
        init=request.init,
        num_classes=request.num_classes,
        space=file.to_dict(),
        with_stem=request.with_stem,
        budgets=(),
    )
    if runs:
        problem = with_insertion_method(problem, base)
    space = _space_of(problem, file)
    added, latency = measure_costs(
        space, request.budgets.keys(), request.timing, request.seed, module
    )
    space = with_costs(space, added)
    budgets = _budgets(request, space, latency)
    designs = feasible(space, budgets)
    sampler, trials = _sampler_and_trials(request, designs)
    shared = {f.name: getattr(problem, f.name) for f in fields(problem)}
    shared |= {name: getattr(request, name) for name in _SHARED} | {"budgets": budgets}
    run = Run(
        **shared,
        score=request.score or DEFAULT_SCORE,
        sampler=sampler,
        trials=trials,
        designs=min(designs.designs, LARGEST_COUNT),
        feasible_designs=min(designs.count, LARGEST_COUNT),
        exact=designs.exact,
        compare_random=_compares(request, sampler),
        device=request.timing.device,
        threads=request.timing.threads,
        added=added,
        latency=latency,
        command=command,
        versions={"python": python_version()} | {name: version(name) for name in _VERSIONS},
        git_commit=_git_commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        recipe=None if request.recipe is None else request.recipe.to_dict(),
        sources={} if module is not None else _sources(request.model, request.score or ""),
    )
    if run.trained and request.data is not None:
        # Imported here because it loads torch.
        from bamsearch.training.classes import check_gives_classes

        check_gives_classes(base().module, run.model, request.data)
    return SearchPlan(run, designs)


def plan_of_run(run: Run) -> SearchPlan:
    """The space and the feasible designs of a recorded run, from its record alone.

    Raises:
        RunError: the code of its model or score has changed.
        SpaceError, NothingFitsError: only if ``run.json`` was edited.
    """
    now = _sources(run.model, run.score)
    for kind, was in run.sources.items():
        if now.get(kind) != was:
            name = run.model if kind == "model" else run.score
            raise RunError(
                f"{kind} {name} has changed since run {run.name} started: it was {was} and is now "
                f"{now.get(kind) or 'missing'}; {ANEW}"
            )
    space = _space_of(run, parse_space(run.space, f"space of run {run.name}"))
    return SearchPlan(run, feasible(with_costs(space, run.added), run.budgets))


def _space_of(problem: Problem, file: SpaceFile) -> SearchSpace:
    return search_space(
        file,
        problem.summary,
        with_stem=problem.with_stem,
        variant=problem.variant,
        init=problem.init,
        num_classes=problem.num_classes,
    )


def _sources(model: str, score: str) -> dict[str, str]:
    """See :attr:`bamsearch.records.Run.sources`."""
    names = {"model": model} | ({"score": score} if ":" in score else {})
    sources = {kind: source_of(name) for kind, name in names.items()}
    return {kind: source for kind, source in sources.items() if source is not None}


def _with_score(request: SearchRequest) -> SearchRequest:
    """The request with its default score and, if that trains, its default recipe."""
    if request.score is None:
        score = DEFAULT_SCORE if request.data is None else "train"
        request = replace(request, score=score)
    default = find_recipe(DEFAULT_RECIPE)
    if request.score == "train":
        return replace(request, recipe=request.recipe or default)
    if request.recipe is not None:
        raise InvalidValueError(
            f"`recipe` and `epochs` are for scores that train, not for {request.score}: "
            "leave them out, or give `score=train`"
        )
    return request


def _compares(request: SearchRequest, sampler: str) -> bool:
    """Whether a random search of the same length is scored too."""
    wanted = request.compare_random
    if wanted is None:
        # The best design by cost is known: random designs can only tie with it.
        wanted = request.score != "train" and request.score not in COSTS
    return wanted and sampler not in ("random", "exhaustive")


def _check(request: SearchRequest, module: nn.Module | None) -> None:
    if request.score == "train":
        _check_trains(request, module)
    if "score" not in request.objectives:
        raise InvalidValueError("`objectives` must include score: costs are known without a search")
    if len(set(request.objectives)) != len(request.objectives):
        raise InvalidValueError("`objectives` repeats an objective: give each once")
    cost = COSTS.get(request.score or "")
    if cost is not None and cost in request.objectives:
        raise InvalidValueError(
            f"`objectives={cost}`: score {request.score} is the same cost, give another `score`, "
            "such as snip"
        )
    if "ms" in request.objectives and "ms" not in request.budgets:
        raise InvalidValueError("`objectives=ms` needs `budget_ms`, which makes the latency table")
    if request.trials is not None and request.trials < 1:
        raise InvalidValueError(f"`trials` must be at least 1, not {request.trials}")
    check_until(request.until, request.score)


def check_until(until: float | None, score: str | None) -> None:
    """Raise InvalidValueError unless the score can stop at that expected regret."""
    if until is None:
        return
    if score != "train":
        raise InvalidValueError(
            f"`until={until:g}` is in points of accuracy, and score {score} is not an accuracy: "
            "leave it out, or give `data=NAME`"
        )
    if not 0 < until < float("inf"):
        raise InvalidValueError(f"`until={until:g}`: give points above 0, such as 0.2")


def _check_trains(request: SearchRequest, module: nn.Module | None) -> None:
    if request.data is None:
        raise InvalidValueError(
            f"score {request.score} needs data: give `data=NAME`, such as `data=digits`"
        )
    # Imported here because they load torch.
    from bamsearch.training.fabric import check_fabric
    from bamsearch.training.initial_model import check_is_classifier

    if module is None:
        check_is_classifier(request.model)
    check_fabric()


def _base(request: SearchRequest, module: nn.Module | None) -> Base:
    # Imported here because they load torch.
    from bamsearch.graph.base import Base, base_to_examine
    from bamsearch.graph.models import default_input_shape

    if module is not None:
        return Base(module, (3, *(request.input_size or (224, 224))))
    shape = default_input_shape(request.model)
    shape = (*shape[:-2], *(request.input_size or shape[-2:]))
    return base_to_examine(Design(request.model, shape, num_classes=request.num_classes))


def with_insertion_method(problem: P, base: Callable[[], Base] | None = None) -> P:
    """Choose the insertion method (rewriting or hooks), tried with BAM at every site of the space.

    Raises:
        ModelError: neither method gives the right network.
    """
    summary = problem.summary
    if summary.how != "auto":
        return problem
    # Imported here because it loads torch.
    from bamsearch.graph.designs import insert_checked

    kinds = ("bottleneck", "head", *(["stem"] if problem.with_stem else []))
    sites = [site for site in summary.sites if site.kind in kinds] or summary.sites
    design = problem.design([Insertion(site.name) for site in sites])
    how = insert_checked(design, base() if base else None).how
    return replace(problem, summary=replace(summary, how=how))


def _budgets(
    request: SearchRequest, space: SearchSpace, latency: Mapping[str, Any] | None
) -> tuple[Budget, ...]:
    base: dict[Quantity, int] = {
        "gflops": space.summary.base.macs,
        "params": space.summary.base.params,
        "memory": space.memory,
        # +2% is relative to the measured time; a design must fit with the table's worst error.
        "ms": ceil(latency["base_ms"] * 1e6) if latency is not None else 0,
    }
    budgets = [parse_budget(key, text, base[key]) for key, text in request.budgets.items()]
    return tuple(replace(b, base=space.ns) if b.quantity == "ms" else b for b in budgets)


def _sampler_and_trials(request: SearchRequest, designs: Feasible) -> tuple[str, int]:
    """The sampler and the number of trials: all designs if no more are feasible than trials.

    Under a score that is a cost, listed designs are sorted by it instead of searched.
    """
    base = designs.space.encoding(())
    count = designs.count - (base is not None)
    trials = request.trials
    if request.sampler == "exhaustive":
        if trials is not None and trials < count:
            raise InvalidValueError(
                f"`sampler=exhaustive` scores all {count:,} feasible designs: "
                f"leave `trials={trials}` out, or choose another sampler"
            )
        return "exhaustive", count
    if request.score == "train" and (request.sampler or DEFAULT_SAMPLER) == "gp":
        return "gp", trials or TRAINED_TRIALS
    trials = trials or (TRAINED_TRIALS if request.score == "train" else DEFAULT_TRIALS)
    if request.sampler in (None, "sorted") and _can_sort(request, designs):
        return "sorted", min(trials, count)
    if count <= trials:
        return request.sampler if request.sampler == "random" else "exhaustive", count
    return request.sampler or DEFAULT_SAMPLER, trials


def _can_sort(request: SearchRequest, designs: Feasible) -> bool:
    """Whether designs can be sorted by the score: it is a cost, and the designs are listed.

    Raises:
        InvalidValueError: they cannot, and sampler ``sorted`` was requested.
    """
    only = request.score in COSTS and request.objectives == ("score",)
    if only and isinstance(designs, Listed):
        return True
    if request.sampler == "sorted":
        raise InvalidValueError(
            f"`sampler=sorted` needs score {' or '.join(COSTS)} as the only objective, and a space "
            "small enough to list: leave it out"
        )
    return False


def _git_commit() -> str | None:
    """The commit of the current folder's repository, or None."""
    try:
        process = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
