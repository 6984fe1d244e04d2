"""Options of ``audit``, and the plan made from them before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version

from bamsearch.data.datasets import Datasets
from bamsearch.data.loading import load_data
from bamsearch.data.resolving import resolve
from bamsearch.data.splits import Data
from bamsearch.errors import InvalidValueError
from bamsearch.evidence.audit.folder import AuditFolder, folder_of
from bamsearch.evidence.audit.sample import draw_sample
from bamsearch.evidence.verify.request import check_is_named, data_for_run
from bamsearch.files import check_output_folder
from bamsearch.profiling.devices import resolve_device
from bamsearch.records import Audit, Audited, Init, Quantity, Run, Variant, check_input_size
from bamsearch.records.problems import Problem
from bamsearch.records.run_files import find_run, read_run
from bamsearch.records.sources import source_of
from bamsearch.score.scorer import check_score
from bamsearch.score.table import SCORES
from bamsearch.space.feasible import Feasible
from bamsearch.space.measured_costs import LatencySettings
from bamsearch.study.request import (
    SearchPlan,
    SearchRequest,
    plan_of_run,
    plan_search,
    with_insertion_method,
)
from bamsearch.training.initial_model import check_is_classifier
from bamsearch.training.recipe import FINE_TUNE, Recipe
from bamsearch.training.request import TrainingOptions

DEFAULT_DESIGNS = 40
DEFAULT_SEEDS = 3
DEFAULT_SCORE_SEEDS = 8
LEAST_DESIGNS = 8
"""Fewest designs that can assess a score."""

_SET_BY_RUN = ("space", "with_stem", "variant", "init", "input_size")
_VERSIONS = ("bamsearch", "torch", "torchvision", "lightning-fabric", "scipy")

ALL = "all"
"""Value of ``scores`` that stands for all zero-cost scores."""


@dataclass(frozen=True, slots=True)
class AuditRequest(TrainingOptions):
    """The options of an audit.

    Attributes:
        model: a MODEL; or the name or folder of a run, which sets budgets, space, with_stem,
            variant, init and input_size.
        data: the data, as in :func:`bamsearch.search`; None is that of the run.
        budgets: quantity (gflops, params, memory or ms) to its budget, as text.
        space: name or file of the search space; None is stages.
        with_stem: add the stem to the space.
        variant: variant of BAM; None is paper.
        init: initialisation of BAM; None is paper.
        input_size: (H, W), or one number for both, for images of different sizes.
        designs: number of designs in the sample.
        seeds: number of training seeds, at least two.
        score_seeds: number of draws of each score that depends on initial weights and images; their
            seeds are ``seed`` and the ones after it.
        seed: first training seed, and seed of the sample and of the intervals.
        scores: names of scores; ``all`` for every zero-cost score.
        threads: torch threads on a CPU.
        jobs: number of training processes; they load the data by name.
        output: folder of the audit; the same call continues an interrupted audit in it.
        name: name of the audit, whose folder is ``audits/NAME``. Without name and output it is
            MODEL-DATA-NNN.
    """

    model: str | os.PathLike[str]
    data: str | Datasets | None = None
    _: KW_ONLY
    budgets: Mapping[Quantity, str] = field(default_factory=dict)
    space: str | None = None
    with_stem: bool = False
    variant: Variant | None = None
    init: Init | None = None
    input_size: tuple[int, int] | int | None = None
    designs: int = DEFAULT_DESIGNS
    seeds: int = DEFAULT_SEEDS
    score_seeds: int = DEFAULT_SCORE_SEEDS
    seed: int = 0
    scores: tuple[str, ...] = (ALL,)
    threads: int = 1
    jobs: int = 1
    output: str | os.PathLike[str] | None = None
    name: str | None = None
    command: str = "bamsearch.audit"

    @property
    def target(self) -> str:
        """The MODEL or run as text."""
        return os.fspath(self.model)


@dataclass(frozen=True, eq=False)
class AuditPlan:
    """An audit that is ready to train.

    Attributes:
        request: the options.
        audit: the audit with the designs of its sample, but without results.
        data: training and validation data.
        recipe: training recipe.
        folder: folder of the audit, which may not exist yet.
    """

    request: AuditRequest
    audit: Audit
    data: Data
    recipe: Recipe
    folder: AuditFolder


def plan_audit(request: AuditRequest) -> AuditPlan:
    """Load the data, find the feasible designs, and draw the sample.

    An audit that the folder already has is continued: it may add score seeds.

    Raises:
        InvalidValueError: numbers, names or options out of range, or ``torchrun``.
        RunError: the run cannot be read, or the folder has another audit.
        OutputError: the folder has other files, or cannot be written.
        NothingToDoError: not a classifier, no site for BAM, or no feasible design.
        DataError: the data are missing, or do not fit the network.
        ScoreError: unknown score.
    """
    _check(request)
    scores = _scores(request.scores)
    if request.recipe == FINE_TUNE:
        raise InvalidValueError(
            f"recipe {FINE_TUNE} is for trained weights, but an audit trains from random weights: "
            "choose another `recipe`"
        )
    recipe = request.chosen_recipe(None)
    device = str(resolve_device(request.device))
    path = find_run(request.target)
    searched, data = (
        _of_model(request, device) if path is None else _of_run(request, read_run(path))
    )
    run, feasible = searched.run, searched.feasible
    sample = draw_sample(feasible, request.designs, request.seed)
    audit = Audit(
        **{each.name: getattr(run, each.name) for each in fields(Problem)},
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
    folder = folder_of(request.name, request.output, audit)
    check_output_folder(
        folder.path, force=folder.is_audit, advice="it is not an audit, so choose another path"
    )
    audit = audit if request.force else folder.opened(audit)
    return AuditPlan(request, audit, data, recipe, folder)


def _of_run(request: AuditRequest, run: Run) -> tuple[SearchPlan, Data]:
    options = {name: getattr(request, name) for name in _SET_BY_RUN}
    options |= {f"budget_{quantity}": text for quantity, text in request.budgets.items()}
    for name, value in options.items():
        if value:
            raise InvalidValueError(
                f"`{name}` is set by run {request.target}: leave it out, or give a MODEL"
            )
    request.follower.execute(run.model)
    check_is_classifier(run.model)
    check_is_named(run, "write a function that builds it, and give that as MODEL")
    recorded = None if run.data is None else run.data.hash
    data = data_for_run(run, request, request.data, recorded)
    return plan_of_run(with_insertion_method(run)), data


def _of_model(request: AuditRequest, device: str) -> tuple[SearchPlan, Data]:
    model = request.target
    if request.data is None:
        raise InvalidValueError(
            "`data` is missing: 'bamsearch audit MODEL --data NAME', with a NAME such as digits or "
            "imagefolder:DIR"
        )
    check_is_classifier(model)
    size = None if request.input_size is None else check_input_size(request.input_size)
    data = load_data(
        request.data,
        input_size=size,
        download=request.download,
        value_range=request.value_range,
    )
    resolved, classes, facts = resolve(data, size, None)
    searched = plan_search(
        SearchRequest(
            model=model,
            budgets=request.budgets,
            space=request.space or "stages",
            with_stem=request.with_stem,
            input_size=resolved,
            num_classes=classes,
            data=facts,
            variant=request.variant or "paper",
            init=request.init or "paper",
            seed=request.seed,
            timing=LatencySettings(device=device, threads=request.threads),
        )
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
    if request.jobs < 1:
        raise InvalidValueError(f"`jobs={request.jobs}`: give at least 1")
    if request.jobs > 1 and not isinstance(request.data, str | None):
        raise InvalidValueError("`jobs` is for data with a name: processes load them by it")
    if request.name is not None and request.output is not None:
        raise InvalidValueError("`name` and `output`: choose one")
    if request.seed + max(request.seeds, request.score_seeds) > 2**32:
        raise InvalidValueError(f"`seed={request.seed}`: the last seed would be over {2**32 - 1}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValueError(
            "audit trains each network in one process: start it without torchrun, with -j N"
        )
