"""Options of ``audit``, and the plan made from them before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version

from bamsearch.data.loading import load_data
from bamsearch.data.splits import Data
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.evidence.audit.sample import draw_sample
from bamsearch.evidence.verify.request import check_data_fit_run
from bamsearch.profiling.devices import resolve_device
from bamsearch.records import Audit, Audited, Init, Quantity, ValueRange, Variant
from bamsearch.records.run_files import find_run, read_run
from bamsearch.records.sources import source_of
from bamsearch.score.scorer import check_score
from bamsearch.score.table import SCORES
from bamsearch.space.feasible import Feasible
from bamsearch.space.measured_costs import LatencySettings
from bamsearch.study.request import SearchPlan as PlannedSearch
from bamsearch.study.request import SearchRequest as SearchRequest
from bamsearch.study.request import plan_of_run, plan_search, with_insertion_method
from bamsearch.training.initial_model import check_is_classifier
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, Precision, Recipe, find_recipe
from bamsearch.training.request import load_for

DEFAULT_DESIGNS = 40
DEFAULT_SEEDS = 3
DEFAULT_SCORE_SEEDS = 8
LEAST_DESIGNS = 8
"""Fewest designs that can assess a score."""

_VERSIONS = ("bamsearch", "torch", "torchvision", "lightning-fabric", "scipy")

ALL = "all"
"""Value of ``scores`` that stands for all zero-cost scores."""


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """Options of an audit.

    Attributes:
        what: a MODEL; or the name or folder of a run, which sets all but data, sample and training.
        data: name of the data; None: the run's.
        download: download missing data.
        budgets: quantity to text, as typed.
        space: name or file of the search space.
        with_stem: whether the stem is added.
        variant: variant of BAM.
        init: initialisation of BAM.
        input_size: (H, W) for images of different sizes; None: native size.
        designs: number of designs in the sample.
        seeds: number of training seeds, at least two.
        score_seeds: number of draws of each score that depends on initial weights and images; their
            seeds are ``seed`` and the ones after it.
        seed: first training seed, and seed of the sample and of the intervals.
        recipe: name of the training recipe.
        epochs: number of epochs; None: the recipe's.
        precision: numeric precision of training; None: the recipe's.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        threads: torch threads on a CPU.
        scores: names of scores; ``all`` for every zero-cost score.
        command: command line.
        value_range: value range of the data; None: the run's.
    """

    what: str
    data: str | None = None
    download: bool = False
    budgets: Mapping[Quantity, str] = field(default_factory=dict)
    space: str = "stages"
    with_stem: bool = False
    variant: Variant = "paper"
    init: Init = "paper"
    input_size: tuple[int, int] | None = None
    designs: int = DEFAULT_DESIGNS
    seeds: int = DEFAULT_SEEDS
    score_seeds: int = DEFAULT_SCORE_SEEDS
    seed: int = 0
    recipe: str = DEFAULT_RECIPE
    epochs: int | None = None
    precision: Precision | None = None
    device: str = "auto"
    threads: int = 1
    scores: tuple[str, ...] = (ALL,)
    command: str = ""
    value_range: ValueRange | None = None


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """An audit that is ready to train.

    Attributes:
        audit: the audit with the designs of its sample, but without name and results.
        data: training and validation data.
        recipe: training recipe.
    """

    audit: Audit
    data: Data
    recipe: Recipe


def plan_audit(request: AuditRequest) -> AuditPlan:
    """Load the data, find the feasible designs, and draw the sample.

    Raises:
        InvalidValueError: numbers, names or options out of range, or ``torchrun``.
        RunError: the run cannot be read.
        NothingToDoError: not a classifier, no site for BAM, or no feasible design.
        DataError: the data are missing, or do not fit the network.
        ScoreError: unknown score.
    """
    _check(request)
    scores = _scores(request.scores)
    recipe = find_recipe(request.recipe)
    if recipe.name == FINE_TUNE:
        raise InvalidValueError(
            f"recipe {FINE_TUNE} is for trained weights, but an audit trains from random weights: "
            "choose another `recipe`"
        )
    recipe = recipe.changed(epochs=request.epochs, precision=request.precision)
    device = str(resolve_device(request.device))
    searched, data = _of_run(request) if is_run(request.what) else _of_model(request, device)
    run, feasible = searched.run, searched.feasible
    sample = draw_sample(feasible, request.designs, request.seed)
    audit = Audit(
        name="",
        summary=run.summary,
        variant=run.variant,
        init=run.init,
        num_classes=run.num_classes,
        space=run.space,
        with_stem=run.with_stem,
        budgets=run.budgets,
        data=data.facts,
        recipe=recipe.to_dict(),
        number=request.designs,
        seeds=tuple(range(request.seed, request.seed + request.seeds)),
        scores=scores,
        score_seeds=request.score_seeds,
        quantity=sample.quantity,
        threshold=sample.threshold,
        feasible_designs=run.feasible_designs,
        exact=run.exact,
        designs=tuple(
            _audited(feasible, encoding, in_band=in_band)
            for encoding, in_band in zip(sample.encodings, sample.in_band, strict=True)
        ),
        device=device,
        threads=request.threads,
        command=request.command,
        versions={"python": python_version()} | {name: version(name) for name in _VERSIONS},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=source_of(run.model),
    )
    return AuditPlan(audit, data, recipe)


def is_run(name: str) -> bool:
    """Whether that is the name or the folder of a run."""
    return find_run(name) is not None


def _of_run(request: AuditRequest) -> tuple[PlannedSearch, Data]:
    path = find_run(request.what)
    run = read_run(path) if path is not None else None
    if run is None:
        raise InvalidValueError(f"{request.what!r} is not a run")
    check_is_classifier(run.model)
    if request.data is None and run.data is None:
        raise InvalidValueError(f"`data` is missing: run {run.name} was searched without data")
    split_seed, name = 0, request.data
    recorded = None if run.data is None else run.data.hash
    value_range = request.value_range or (None if run.data is None else run.data.value_range)
    if name is None and run.data is not None:
        name, split_seed = run.data.name, run.data.split_seed
    base = run.design(())
    data = load_for(name or "", base, request.download, split_seed, recorded, value_range)
    check_data_fit_run(run, data.facts)
    return plan_of_run(with_insertion_method(run)), data


def _of_model(request: AuditRequest, device: str) -> tuple[PlannedSearch, Data]:
    if request.data is None:
        raise InvalidValueError(
            "`data` is missing: 'bamsearch audit MODEL --data NAME', with a NAME such as digits or "
            "imagefolder:DIR"
        )
    check_is_classifier(request.what)
    data = load_data(
        request.data,
        input_size=request.input_size,
        download=request.download,
        value_range=request.value_range,
    )
    facts, native = data.facts, data.native_size
    size = request.input_size
    if native is not None and size is not None and size != native:
        sizes = ["x".join(map(str, shape)) for shape in (native, size)]
        raise InvalidValueError(
            f"`data={request.data}` has images of {sizes[0]}, but `input_size` is {sizes[1]}: "
            "leave `input_size` out"
        )
    searched = plan_search(
        SearchRequest(
            model=request.what,
            budgets=request.budgets,
            space=request.space,
            with_stem=request.with_stem,
            input_size=facts.input_shape[1:],
            num_classes=facts.classes,
            data=facts,
            variant=request.variant,
            init=request.init,
            seed=request.seed,
            timing=LatencySettings(device=device, threads=request.threads),
        )
    )
    if searched.run.summary.input_shape != facts.input_shape:
        raise DataError(
            f"`data={facts.name}` has inputs of {'x'.join(map(str, facts.input_shape))}, but "
            f"{request.what} takes {'x'.join(map(str, searched.run.summary.input_shape))}: "
            "choose another MODEL"
        )
    return searched, data


def _audited(feasible: Feasible, encoding: tuple[int, ...], *, in_band: bool) -> Audited:
    space = feasible.space
    params, macs = (space.total(encoding, quantity) for quantity in ("params", "gflops"))
    return Audited(space.insertions(encoding), params, macs, in_band)


def _scores(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the scores; ``params`` is always included, as the others are compared with it."""
    wanted: dict[str, None] = {}
    for name in (*names, "params"):
        check_score("params" if name == ALL else name)
        wanted |= dict.fromkeys(SCORES if name == ALL else [name])
    ordered = [name for name in SCORES if name in wanted]
    return (*ordered, *(name for name in wanted if name not in SCORES))


def _check(request: AuditRequest) -> None:
    if request.designs < LEAST_DESIGNS:
        raise InvalidValueError(
            f"`designs={request.designs}`: at least {LEAST_DESIGNS} designs are needed to assess a "
            "score"
        )
    if request.seeds < 2:
        raise InvalidValueError(
            f"`seeds={request.seeds}`: at least 2 seeds are needed to measure the noise"
        )
    if request.score_seeds < 1:
        raise InvalidValueError(f"`score_seeds={request.score_seeds}`: give at least 1")
    if request.seed + max(request.seeds, request.score_seeds) > 2**32:
        raise InvalidValueError(f"`seed={request.seed}`: the last seed would be over {2**32 - 1}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValueError(
            "audit trains each network in one process: start it without torchrun, with -j N"
        )
