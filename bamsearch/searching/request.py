"""What is asked of a search, and what is known before it starts: the space, and what fits."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from platform import python_version
from typing import TYPE_CHECKING, Any

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.profile.summary import check_has_sites, summarise, summarise_module
from bamsearch.records import (
    Budget,
    DataFacts,
    Design,
    Init,
    Insertion,
    ModelSummary,
    Objective,
    Quantity,
    Run,
    Variant,
)
from bamsearch.records.sources import source_of, user_code
from bamsearch.score.table import COSTS, DEFAULT_SCORE
from bamsearch.searching.budget import parse_budget
from bamsearch.searching.choices import SearchSpace, with_costs
from bamsearch.searching.feasible import Feasible, Listed
from bamsearch.searching.fitting import feasible
from bamsearch.searching.measured import Timing, measure
from bamsearch.searching.space import SpaceFile, parse_space, read_space, search_space
from bamsearch.text import LARGEST_COUNT
from bamsearch.training.recipe import DEFAULT_RECIPE, Recipe, find_recipe

if TYPE_CHECKING:
    from torch import nn

DEFAULT_TRIALS = 100

TRAINED_TRIALS = 40
"""Each is a training."""

DEFAULT_SAMPLER = "gp"
_ANEW = "bring that back, or search anew with another --name, or with --force under this one"
_VERSIONS = ("bamsearch", "torch", "torchvision", "optuna", "fvcore")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a search.

    Attributes:
        model: a MODEL, or what a module is called.
        budgets: quantity to text, as typed.
        space: a space's name or file.
        with_stem: whether the stem is added.
        score: a score's name, or ``module:function``; None is train where there are data, else
            params.
        objectives: what is searched for; the first ranks.
        sampler: which one proposes; None lets the number of designs decide.
        trials: how many in all; None is 100, or all designs where ``exhaustive`` is asked for.
        until: expected regret, in points of accuracy, at which a search that trains stops early.
        seed: of everything random.
        input_size: (H, W); None is the model's own.
        num_classes: of the head; None is the model's own.
        data: what set the two, if a data set did.
        variant: which BAM.
        init: how it starts.
        compare_random: whether to run a random search of the same length too; None: unless that
            costs trainings, or the score is params or macs.
        recipe: training recipe; None is the short one.
        heartbeat: seconds between a worker's signs of life.
        timing: conditions of a budget of time; its device also scores.
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
    timing: Timing = field(default_factory=Timing)


@dataclass(frozen=True)
class Planned:
    """A search before it starts.

    Attributes:
        run: what is asked for, without a name yet.
        feasible: the designs that fit.
    """

    run: Run
    feasible: Feasible

    @property
    def space(self) -> SearchSpace:
        """The space of the model."""
        return self.feasible.space


def plan_search(request: Request, module: nn.Module | None = None, command: str = "") -> Planned:
    """Work out what fits, before anything is scored.

    Args:
        request: what is asked.
        module: the base, where the model is not one that a name builds; its input is
            ``request.input_size``, 224x224 by default.
        command: what was typed, for the record.

    Raises:
        NoSiteError: the model, or the space, has no place for BAM.
        NothingFitsError: no design keeps the budgets.
        SpaceError, ModelError, InvalidValueError: as their words say.
    """
    request = _with_score(request)
    _check(request, module)
    summary = _summary(request, module)
    check_has_sites(summary)
    # Such a score needs no network, unless a budget measures it.
    if request.score not in COSTS or {"memory", "ms"} & request.budgets.keys():
        summary = _decided(
            summary,
            request.variant,
            request.init,
            request.num_classes,
            with_stem=request.with_stem,
            module=module,
        )
    file = read_space(request.space)
    space = search_space(
        file,
        summary,
        with_stem=request.with_stem,
        variant=request.variant,
        init=request.init,
        num_classes=request.num_classes,
    )
    added, latency = measure(space, request.budgets.keys(), request.timing, request.seed, module)
    space = with_costs(space, added)
    budgets = _budgets(request, space, latency)
    found = feasible(space, budgets)
    sampler, trials = _sampler_and_trials(request, found)
    run = Run(
        name="",
        summary=summary,
        variant=request.variant,
        init=request.init,
        num_classes=request.num_classes,
        space=file.to_dict(),
        with_stem=request.with_stem,
        budgets=budgets,
        score=request.score or DEFAULT_SCORE,
        objectives=request.objectives,
        sampler=sampler,
        seed=request.seed,
        trials=trials,
        designs=min(found.designs, LARGEST_COUNT),
        feasible_designs=min(found.count, LARGEST_COUNT),
        exact=found.exact,
        compare_random=_compares(request, sampler),
        device=request.timing.device,
        threads=request.timing.threads,
        heartbeat=request.heartbeat,
        added=added,
        latency=latency,
        command=command,
        versions={"python": python_version()} | {name: version(name) for name in _VERSIONS},
        git_commit=_git_commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=request.data,
        recipe=None if request.recipe is None else request.recipe.to_dict(),
        until=request.until,
        sources={} if module is not None else _sources(request.model, request.score or ""),
    )
    if run.trained and request.data is not None:
        _check_classes(run, request.data)
    return Planned(run, found)


def _check_classes(run: Run, facts: DataFacts) -> None:
    """Raise an error where the networks do not give a score for each class of the data."""
    # Here, as it loads torch.
    from bamsearch.graph.models import build_model
    from bamsearch.training.classes import check_gives_classes

    shape = run.summary.input_shape
    module = build_model(run.model, shape, num_classes=run.num_classes, initialise=False)
    check_gives_classes(module, run.model, facts)


def planned_again(run: Run) -> Planned:
    """The space and what fits of a run that is there, from what it says of itself.

    Raises:
        RunError: the code of its model or score has changed since.
        SpaceError, NothingFitsError: never, unless ``run.json`` was changed by hand.
    """
    now = _sources(run.model, run.score)
    for what, was in run.sources.items():
        if now.get(what) != was:
            name = run.model if what == "model" else run.score
            raise RunError(
                f"{what} {name} is not what run {run.name} began with: it was {was}, and is "
                f"{now.get(what) or 'not there'}; {_ANEW}"
            )
    space = search_space(
        _file_of(run),
        run.summary,
        with_stem=run.with_stem,
        variant=run.variant,
        init=run.init,
        num_classes=run.num_classes,
    )
    return Planned(run, feasible(with_costs(space, run.added), run.budgets))


def check_base(run: Run) -> None:
    """Count the base of a run again, where its code is a user's: that may import what has changed.

    Raises:
        RunError: it is another network than that of the run.
        ModelError: it cannot be built.
    """
    if "model" not in run.sources or user_code(run.model) is None:
        return
    was = run.summary
    now = summarise(run.model, was.input_shape[-2:], run.num_classes)
    if (now.base, now.sites) != (was.base, was.sites):
        raise RunError(
            f"model {run.model} is not what run {run.name} began with: it had "
            f"{was.base.params:,} parameters and {was.base.macs:,} MACs, and has "
            f"{now.base.params:,} and {now.base.macs:,}; {_ANEW}"
        )


def _sources(model: str, score: str) -> dict[str, str]:
    """See :attr:`bamsearch.records.Run.sources`."""
    names = {"model": model} | ({"score": score} if ":" in score else {})
    found = {what: source_of(name) for what, name in names.items()}
    return {what: source for what, source in found.items() if source is not None}


def more_trials(run: Run, trials: int | None, count: int, until: float | None = None) -> Run:
    """The run with another number of trials in all, or another ``until``.

    Args:
        run: what was asked for.
        trials: how many in all; None leaves it.
        count: designs that fit, without the base.
        until: see :class:`Request`; None leaves it.

    Raises:
        InvalidValueError: fewer than before, or ``until`` for a run that does not train.
    """
    _check_until(until, run.score)
    run = replace(run, until=run.until if until is None else until)
    if trials is None or trials == run.trials:
        return run
    if trials < run.trials:
        raise InvalidValueError(
            f"--trials {trials} is fewer than the {run.trials} that {run.name} has: it is the total"
        )
    return replace(run, trials=trials if run.repeats else min(trials, count))


def _file_of(run: Run) -> SpaceFile:
    return parse_space(run.space, f"space of run {run.name}")


def _with_score(request: Request) -> Request:
    """The request with its score and, where that trains, its recipe and options."""
    if request.score is None:
        score = DEFAULT_SCORE if request.data is None else "train"
        request = replace(request, score=score)
    usual = find_recipe(DEFAULT_RECIPE)
    if request.score == "train":
        return replace(request, recipe=request.recipe or usual)
    if request.recipe is not None:
        raise InvalidValueError(
            f"--recipe and --epochs are for scores that train, not for {request.score}: "
            "leave them out, or give --score train"
        )
    return request


def _compares(request: Request, sampler: str) -> bool:
    """Whether a random search of the same length is scored too."""
    wanted = request.compare_random
    if wanted is None:
        # Of a cost the best is known: random designs can only tie with it.
        wanted = request.score != "train" and request.score not in COSTS
    return wanted and sampler not in ("random", "exhaustive")


def _check(request: Request, module: nn.Module | None) -> None:
    if request.score == "train":
        _check_trains(request, module)
    if "score" not in request.objectives:
        raise InvalidValueError(
            "--objective must name the score: what a design costs is known without a search"
        )
    if len(set(request.objectives)) != len(request.objectives):
        raise InvalidValueError("--objective names something twice: give each once")
    cost = COSTS.get(request.score or "")
    if cost is not None and cost in request.objectives:
        raise InvalidValueError(
            f"--objective {cost}: score {request.score} is that cost itself, give another --score, "
            "such as snip"
        )
    if "ms" in request.objectives and "ms" not in request.budgets:
        raise InvalidValueError("--objective ms needs --budget-ms: it makes the latency table")
    if request.trials is not None and request.trials < 1:
        raise InvalidValueError(f"--trials must be at least 1, not {request.trials}")
    _check_until(request.until, request.score)


def _check_until(until: float | None, score: str | None) -> None:
    if until is None:
        return
    if score != "train":
        raise InvalidValueError(
            f"--until {until:g} is in points of accuracy, and score {score} is not an accuracy: "
            "leave it out, or give --data NAME"
        )
    if not 0 < until < float("inf"):
        raise InvalidValueError(f"--until {until:g}: give points above 0, such as 0.2")


def _check_trains(request: Request, module: nn.Module | None) -> None:
    if request.data is None:
        raise InvalidValueError(
            f"score {request.score} needs data: give --data NAME, such as --data digits"
        )
    if module is not None:
        raise InvalidValueError(
            f"score {request.score} builds each network from its MODEL, and a module has none: "
            "give FILE.py:FUNCTION or package.module:function that makes it"
        )
    # Here, as they load torch.
    from bamsearch.training.fabric import check_fabric
    from bamsearch.training.start import check_is_classifier

    check_is_classifier(request.model)
    check_fabric()


def _summary(request: Request, module: nn.Module | None) -> ModelSummary:
    if module is None:
        return summarise(request.model, request.input_size, request.num_classes)
    height, width = request.input_size or (224, 224)
    return summarise_module(request.model, module, (3, height, width))


def with_how(run: Run) -> Run:
    """The run with the way in which BAM goes into its networks, decided and checked once.

    Raises:
        ModelError: neither way gives the right network.
    """
    summary = _decided(run.summary, run.variant, run.init, run.num_classes, with_stem=run.with_stem)
    return replace(run, summary=summary)


def _decided(
    summary: ModelSummary,
    variant: Variant,
    init: Init,
    num_classes: int | None,
    *,
    with_stem: bool,
    module: nn.Module | None = None,
) -> ModelSummary:
    if summary.how != "auto":
        return summary
    # Here, as it loads torch.
    from bamsearch.graph.designs import insert_checked

    kinds = ("bottleneck", "head", "stem") if with_stem else ("bottleneck", "head")
    sites = [site for site in summary.sites if site.kind in kinds] or summary.sites
    insertions = tuple(Insertion(site.name) for site in sites)
    shape = summary.input_shape
    design = Design(summary.model, shape, insertions, variant, init, num_classes)
    return replace(summary, how=insert_checked(design, module).how)


def _budgets(
    request: Request, space: SearchSpace, latency: Mapping[str, Any] | None
) -> tuple[Budget, ...]:
    base: dict[Quantity, int] = {
        "gflops": space.summary.base.macs,
        "params": space.summary.base.params,
        "memory": space.memory,
        # +2 % is on what was measured; what must fit has the table's worst error on top.
        "ms": ceil(latency["base_ms"] * 1e6) if latency is not None else 0,
    }
    budgets = [parse_budget(key, text, base[key]) for key, text in request.budgets.items()]
    return tuple(replace(b, base=space.ns) if b.quantity == "ms" else b for b in budgets)


def _sampler_and_trials(request: Request, found: Feasible) -> tuple[str, int]:
    """Which sampler and how many trials: all designs, where no more fit than there are trials.

    A score that is a cost needs no search where designs are listed: they are sorted by it.
    """
    nothing = found.space.picks(())
    count = found.count - (nothing is not None)
    trials = request.trials
    if request.sampler == "exhaustive":
        if trials is not None and trials < count:
            raise InvalidValueError(
                f"--sampler exhaustive scores all {count:,} designs that fit: "
                f"leave --trials {trials} out, or take another sampler"
            )
        return "exhaustive", count
    if request.score == "train" and (request.sampler or DEFAULT_SAMPLER) == "gp":
        return "gp", trials or TRAINED_TRIALS
    trials = trials or (TRAINED_TRIALS if request.score == "train" else DEFAULT_TRIALS)
    if request.sampler in (None, "sorted") and _can_sort(request, found):
        return "sorted", min(trials, count)
    if count <= trials:
        return request.sampler if request.sampler == "random" else "exhaustive", count
    return request.sampler or DEFAULT_SAMPLER, trials


def _can_sort(request: Request, found: Feasible) -> bool:
    """Whether designs can be sorted by the score: it is a cost, and they are listed.

    Raises:
        InvalidValueError: they cannot be, and sampler ``sorted`` was asked for.
    """
    only = request.score in COSTS and request.objectives == ("score",)
    if only and isinstance(found, Listed):
        return True
    if request.sampler == "sorted":
        raise InvalidValueError(
            f"--sampler sorted takes score {' or '.join(COSTS)} as the only objective, and a space "
            "whose designs can be listed: leave it out"
        )
    return False


def _git_commit() -> str | None:
    """The commit of the current folder's repository; None where there is none."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
