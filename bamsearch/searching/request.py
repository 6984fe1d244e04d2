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

from bamsearch.errors import InvalidValueError
from bamsearch.profile.summary import check_has_sites, summarise, summarise_module
from bamsearch.records import (
    Budget,
    DataFacts,
    Init,
    ModelSummary,
    Objective,
    Quantity,
    Run,
    Variant,
)
from bamsearch.score.table import DEFAULT_SCORE
from bamsearch.searching.budget import parse_budget
from bamsearch.searching.choices import SearchSpace, with_costs
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import feasible
from bamsearch.searching.measured import Timing, measure
from bamsearch.searching.space import SpaceFile, parse_space, read_space, search_space

if TYPE_CHECKING:
    from torch import nn

DEFAULT_TRIALS = 100
DEFAULT_SAMPLER = "gp"
_VERSIONS = ("bamsearch", "torch", "torchvision", "optuna", "fvcore")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a search.

    Attributes:
        model: a MODEL, or what a module is called.
        budgets: quantity to text, as typed.
        space: a space's name or file.
        with_stem: whether the stem is added.
        score: a score's name, or ``module:function``.
        objectives: what is searched for; the first ranks.
        sampler: which one proposes; None lets the number of designs decide.
        trials: how many in all; None is 100, or all designs where ``exhaustive`` is asked for.
        seed: of everything random.
        input_size: (H, W); None is the model's own.
        num_classes: of the head; None is the model's own.
        data: what set the two, if a data set did.
        variant: which BAM.
        init: how it starts.
        compare_random: whether to run a random search of the same length too.
        heartbeat: seconds between a worker's signs of life.
        timing: conditions of a budget of time; its device also scores.
    """

    model: str
    budgets: Mapping[Quantity, str] = field(default_factory=dict)
    space: str = "stages"
    with_stem: bool = False
    score: str = DEFAULT_SCORE
    objectives: tuple[Objective, ...] = ("score",)
    sampler: str | None = None
    trials: int | None = None
    seed: int = 0
    input_size: tuple[int, int] | None = None
    num_classes: int | None = None
    data: DataFacts | None = None
    variant: Variant = "paper"
    init: Init = "paper"
    compare_random: bool = True
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
    _check(request)
    summary = _summary(request, module)
    check_has_sites(summary)
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
        score=request.score,
        objectives=request.objectives,
        sampler=sampler,
        seed=request.seed,
        trials=trials,
        designs=found.designs,
        feasible_designs=found.count,
        exact=found.exact,
        compare_random=request.compare_random and sampler not in ("random", "exhaustive"),
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
    )
    return Planned(run, found)


def planned_again(run: Run) -> Planned:
    """The space and what fits of a run that is there, from what it says of itself.

    Raises:
        SpaceError, NothingFitsError: never, unless ``run.json`` was changed by hand.
    """
    space = search_space(
        _file_of(run),
        run.summary,
        with_stem=run.with_stem,
        variant=run.variant,
        init=run.init,
        num_classes=run.num_classes,
    )
    return Planned(run, feasible(with_costs(space, run.added), run.budgets))


def more_trials(run: Run, trials: int | None, count: int) -> Run:
    """The run with another number of trials in all.

    Args:
        run: what was asked for.
        trials: how many in all; None leaves it.
        count: designs that fit, without the base.

    Raises:
        InvalidValueError: fewer than before.
    """
    if trials is None or trials == run.trials:
        return run
    if trials < run.trials:
        raise InvalidValueError(
            f"--trials {trials} is fewer than the {run.trials} that {run.name} has: it is the total"
        )
    return replace(run, trials=min(trials, count))


def _file_of(run: Run) -> SpaceFile:
    return parse_space(run.space, f"space of run {run.name}")


def _check(request: Request) -> None:
    if "score" not in request.objectives:
        raise InvalidValueError(
            "--objective must name the score: what a design costs is known without a search"
        )
    if len(set(request.objectives)) != len(request.objectives):
        raise InvalidValueError("--objective names something twice: give each once")
    if "ms" in request.objectives and "ms" not in request.budgets:
        raise InvalidValueError("--objective ms needs --budget-ms: it makes the latency table")
    if request.trials is not None and request.trials < 1:
        raise InvalidValueError(f"--trials must be at least 1, not {request.trials}")


def _summary(request: Request, module: nn.Module | None) -> ModelSummary:
    if module is None:
        return summarise(request.model, request.input_size, request.num_classes)
    height, width = request.input_size or (224, 224)
    return summarise_module(request.model, module, (3, height, width))


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
    """Which sampler and how many trials: all designs, where no more fit than there are trials."""
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
    trials = trials or DEFAULT_TRIALS
    if count <= trials:
        return request.sampler if request.sampler == "random" else "exhaustive", count
    return request.sampler or DEFAULT_SAMPLER, trials


def _git_commit() -> str | None:
    """The commit of the current folder's repository; None where there is none."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
