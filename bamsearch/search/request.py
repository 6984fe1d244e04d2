"""What is asked of a search, and what is known before it starts: the space, and what fits."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
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
    DType,
    Init,
    Mode,
    ModelSummary,
    Objective,
    Quantity,
    Run,
    Variant,
)
from bamsearch.score.table import DEFAULT_SCORE
from bamsearch.search.budget import parse_budget
from bamsearch.search.choices import BASE, Choice, SearchSpace, with_costs
from bamsearch.search.feasible import Feasible, feasible
from bamsearch.search.space import SpaceFile, parse_space, read_space, search_space

if TYPE_CHECKING:
    from torch import nn

DEFAULT_TRIALS = 100
DEFAULT_SAMPLER = "gp"
_VERSIONS = ("bamsearch", "torch", "torchvision", "optuna", "fvcore")


@dataclass(frozen=True, slots=True)
class Timing:
    """Under which conditions a budget of time holds.

    Attributes:
        device: where networks are timed, and scored.
        batch_size: inputs in one call.
        dtype: of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        threads: torch's threads on a CPU.
        samples: of each time.
    """

    device: str = "cpu"
    batch_size: int = 1
    dtype: DType = "float32"
    mode: Mode = "eager"
    threads: int = 1
    samples: int = 30


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
    variant: Variant = "paper"
    init: Init = "paper"
    compare_random: bool = True
    heartbeat: int = 20
    timing: Timing = Timing()


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
    added, latency = _measured(request, space, module)
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


def _measured(
    request: Request, space: SearchSpace, module: nn.Module | None
) -> tuple[dict[tuple[str, str], tuple[int, int]], dict[str, Any] | None]:
    """What options add in bytes and nanoseconds, where a budget needs them."""
    memory = _memory(request, space, module) if "memory" in request.budgets else {}
    ns, latency = _latency(request, space, module) if "ms" in request.budgets else ({}, None)
    keys = memory.keys() | ns.keys()
    return {key: (memory.get(key, 0), ns.get(key, 0)) for key in sorted(keys)}, latency


def _memory(
    request: Request, space: SearchSpace, module: nn.Module | None
) -> dict[tuple[str, str], int]:
    from bamsearch.profile.saved import bam_memory

    module = module or _built(request, space.summary)
    reductions = {
        site.name: sorted({option.reduction for option in choice.options if not option.off})
        for choice in space.choices
        for site in choice.sites
    }
    base, bams = bam_memory(
        module, space.summary, reductions, variant=space.variant, init=space.init
    )
    found = {BASE: base}
    for choice, option in _options(space):
        found[choice.name, option.label] = sum(
            bams[site.name, option.reduction] for site in choice.sites
        )
    return found


def _latency(
    request: Request, space: SearchSpace, module: nn.Module | None
) -> tuple[dict[tuple[str, str], int], dict[str, Any]]:
    """Predicted nanoseconds with the table's worst error on top, and what it is worth."""
    from bamsearch.profile.latency import measure_latency

    timing = request.timing
    options = [option for _, option in _options(space)]
    table = measure_latency(
        module or _built(request, space.summary),
        space.summary,
        reductions=sorted({option.reduction for option in options}),
        dilations=sorted({option.dilation for option in options}),
        sites=[site.name for choice in space.choices for site in choice.sites],
        variant=space.variant,
        init=space.init,
        samples=timing.samples,
        seed=request.seed,
        device=timing.device,
        batch_size=timing.batch_size,
        dtype=timing.dtype,
        mode=timing.mode,
        threads=timing.threads,
    )
    worst = table.error.worst if table.error is not None else 0.0
    ms = {(e.site, e.reduction, e.dilation): e.ms for e in table.entries}

    def safe(milliseconds: float) -> int:
        return ceil(milliseconds * (1 + worst) * 1e6)

    found = {BASE: safe(table.base_ms)}
    for choice, option in _options(space):
        added = (ms[site.name, option.reduction, option.dilation] for site in choice.sites)
        found[choice.name, option.label] = safe(sum(added))
    conditions = table.conditions
    return found, {
        "device": conditions.device.name if conditions else timing.device,
        "batch_size": timing.batch_size,
        "dtype": timing.dtype,
        "mode": timing.mode,
        "threads": timing.threads,
        "samples": timing.samples,
        "base_ms": table.base_ms,
        "worst_error": worst,
        "r2": table.error.r2 if table.error is not None else None,
    }


def _options(space: SearchSpace) -> list[tuple[Choice, Any]]:
    return [(c, option) for c in space.choices for option in c.options if not option.off]


def _built(request: Request, summary: ModelSummary) -> nn.Module:
    from bamsearch.graph.models import build_model

    return build_model(request.model, summary.input_shape, num_classes=request.num_classes)


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


def conditions_text(run: Run) -> str:
    """The conditions of a budget of time: ``NAME, batch 1, float32, eager``."""
    about: Mapping[str, Any] = run.latency or {}
    parts: Sequence[str] = (
        str(about.get("device", "")),
        f"batch {about.get('batch_size', 1)}",
        str(about.get("dtype", "")),
        str(about.get("mode", "")),
    )
    return ", ".join(parts)
