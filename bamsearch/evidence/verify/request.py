"""Options of ``verify``, and the plan made from them before anything is trained."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from itertools import count
from pathlib import Path

from torch import nn

from bamsearch.data.datasets import Datasets
from bamsearch.data.splits import Data
from bamsearch.errors import BamsearchError, DataError, InvalidValueError
from bamsearch.evidence.verify.looks import Rule, look_sizes, nominal_level
from bamsearch.evidence.verify.networks import Chosen, ComparedNetwork, choose
from bamsearch.evidence.verify.statistics import CONFIDENCE
from bamsearch.profiling.summary import summarise
from bamsearch.records import AnalysisPlan, DataFacts, Expected, Over, Run, RunRecord
from bamsearch.study.folder import RunFolder, find_folder
from bamsearch.text import size_text
from bamsearch.training.initial_model import GIVEN, check_is_classifier
from bamsearch.training.recipe import Recipe
from bamsearch.training.request import TrainingOptions, load_for

VERIFY_FOLDER = "verify"
"""Folder of the trainings in the run's folder."""

DEFAULT_SEEDS = 10
DEFAULT_LOOKS = 5
FIRST_SEED = 10_000
"""Default first seed. Searches count their seeds up from ``run.seed``, usually 0; the best design
was partly chosen for its luck with those, which fresh seeds do not share."""
DEFAULT_MARGIN = 0.5


@dataclass(frozen=True, slots=True)
class VerifyRequest(TrainingOptions):
    """The options of a verification.

    Attributes:
        run: name or folder of a run, or a result with a folder; that of a module must be a result,
            whose module gives all networks their weights.
        data: the data, as in :func:`bamsearch.search`; None is that of the run, if it has a name.
        seeds: largest number of seeds, at least two.
        looks: largest number of looks at the test split; a look can decide comparisons.
        first: first seed; None is the first multiple of 10,000 after which the seeds are unused by
            the search.
        weights: weights of the base, from which all networks are fine-tuned; None is random.
        margin: differences smaller than this many points count as equivalent.
        over: variation covered by the intervals: seeds or images.
        expect: expectation that can also decide the comparison with the base: better or not-worse.
    """

    run: str | os.PathLike[str]
    data: str | Datasets | None = None
    _: KW_ONLY
    seeds: int = DEFAULT_SEEDS
    looks: int = DEFAULT_LOOKS
    first: int | None = None
    weights: str | None = None
    margin: float = DEFAULT_MARGIN
    over: Over = "seeds"
    expect: Expected | None = None
    command: str = "bamsearch.verify"

    @property
    def module(self) -> nn.Module | None:
        """The searched module of a result, if no MODEL names it."""
        module: nn.Module | None = getattr(self.run, "module", None)
        return module


@dataclass(frozen=True, slots=True, eq=False)
class VerifyPlan:
    """A verification that is ready to train.

    Attributes:
        request: the options.
        folder: folder of the run.
        record: the run.
        chosen: networks to train.
        data: the data.
        recipe: training recipe.
        plan: seeds and looks; the plan of the first opening of the test split if it is the same.
        exploratory: reason why error rates do not hold, a sentence; empty if they do.
    """

    request: VerifyRequest
    folder: RunFolder
    record: RunRecord
    chosen: Chosen
    data: Data
    recipe: Recipe
    plan: AnalysisPlan
    exploratory: str

    @property
    def seeds(self) -> range:
        """Seeds that the search did not use; each makes one pair in every comparison."""
        return range(self.plan.first, self.plan.first + self.plan.seeds)

    @property
    def trainings(self) -> list[tuple[int, ComparedNetwork]]:
        """All possible trainings, seed by seed."""
        return [(seed, network) for seed in self.seeds for network in self.chosen.networks]

    def rule(self, network: ComparedNetwork) -> Rule:
        """Decision rule of the comparison with a network."""
        request = self.request
        expect = request.expect if "base" in network.roles else None
        return Rule(self.plan.level, request.margin, request.over, expect)

    def place(self, seed: int, network: ComparedNetwork) -> Path:
        """The folder of a training."""
        return self.folder.path / VERIFY_FOLDER / f"{seed}-{network.name}"


def plan_verify(request: VerifyRequest) -> VerifyPlan:
    """Find the run, the networks to train, and the data.

    Raises:
        InvalidValueError: fewer than two seeds, seeds that the search used, a margin of 0, an
            unknown recipe, ``torchrun``, or a run of a module instead of its result.
        RunError: unknown run.
        NothingToDoError: a detector, or the best design is the base.
        DataError: the data are missing, or do not fit the run.
    """
    _check(request)
    folder = find_folder(os.fspath(request.run))
    record = folder.read_record()
    if request.module is None:
        request.follower.execute(record.run.model)
        advice = "call bamsearch.verify(result) from Python, with the result of bamsearch.search"
        check_is_named(record.run, advice)
    check_is_classifier(record.run.model)
    seeds = fresh_seeds(record, request.seeds, request.first)
    chosen = choose(record)
    hashes = [] if record.run.data is None else [record.run.data.hash]
    hashes += [] if record.evidence is None else [record.evidence.data_hash]
    recorded = hashes[0 if request.data is None else -1] if hashes else None
    data = data_for_run(record.run, request, request.data, recorded)
    recipe = request.chosen_recipe(request.weights)
    plan = _plan(request, chosen, data.facts, recipe, seeds)
    first = None if record.evidence is None else record.evidence.plan_for(data.facts.hash)
    changes = [] if first is None else first.changes(plan)
    exploratory = ""
    if first is not None and not changes:
        plan = first  # keeps the level as computed then
    elif changes:
        exploratory = (
            "Exploratory: the test split was first opened under a different plan "
            f"({'; '.join(changes)}), so the error rate of {1 - CONFIDENCE:.0%} does not hold."
        )
    return VerifyPlan(request, folder, record, chosen, data, recipe, plan, exploratory)


def _plan(
    request: VerifyRequest, chosen: Chosen, facts: DataFacts, recipe: Recipe, seeds: range
) -> AnalysisPlan:
    sizes = look_sizes(request.seeds, request.looks)
    return AnalysisPlan(
        data_hash=facts.hash,
        networks=tuple(f"{network.label}: {network.text}" for network in chosen.networks),
        first=seeds[0],
        seeds=len(seeds),
        looks=sizes,
        level=nominal_level(sizes, chosen.comparisons),
        recipe=recipe.to_dict(),
        weights=request.weights if request.module is None else GIVEN,
    )


def fresh_seeds(record: RunRecord, number: int, first: int | None = None) -> range:
    """Consecutive training seeds that the search has not used; see :class:`VerifyRequest`.

    Raises:
        InvalidValueError: the search used one of them, or the last is over 2^32 - 1.
    """
    used = record.search_seeds
    starts = count(FIRST_SEED, FIRST_SEED) if first is None else (first,)
    blocks = (range(start, start + number) for start in starts)
    seeds = next(block for block in blocks if first is not None or used.isdisjoint(block))
    shared = used.intersection(seeds)
    if shared:
        raise InvalidValueError(
            f"`seed={first}`: the search of run {record.run.name} used seed {min(shared)}: "
            f"omit `seed`, or give at least {max(used) + 1}"
        )
    if seeds[-1] >= 2**32:
        raise InvalidValueError(f"`seed={first}`: the last seed would be over {2**32 - 1}")
    return seeds


def misfit(run: Run, facts: DataFacts, classes: int | None) -> DataError:
    """The error for data that do not fit a run, whose networks have these classes, if known."""
    head = "" if classes is None else f" and {classes} classes"
    return DataError(
        f"run {run.name} is for {size_text(run.summary.input_shape)}{head}, but {facts.name} has "
        f"{size_text(facts.input_shape)} and {facts.classes} classes: "
        f"'bamsearch search {run.model} --data {facts.name}' makes a run that fits"
    )


def check_is_named(run: Run, advice: str) -> None:
    """Raise InvalidValueError if a run searched a module, which no MODEL builds."""
    if "model" in run.sources:
        return
    # So it is with a module, and in runs of older versions.
    summary = run.summary
    with suppress(BamsearchError):
        named = summarise(run.model, summary.input_shape[-2:], run.num_classes)
        if (named.base, named.sites) == (summary.base, summary.sites):
            return
    raise InvalidValueError(f"run {run.name} searched a module that no MODEL builds: {advice}")


def data_for_run(
    run: Run, options: TrainingOptions, name: str | Datasets | None, recorded: str | None
) -> Data:
    """The requested data, or those of the run, in the input of its networks.

    Raises:
        InvalidValueError: the run was searched without data.
        DataError: the data are missing, or do not fit the networks.
    """
    facts, split_seed = run.data, 0
    if name is None:
        if facts is None:
            raise InvalidValueError(
                f"`data` is missing: run {run.name} was searched without data: add `data=NAME`, "
                "such as `data=digits`"
            )
        name, split_seed = facts.name, facts.split_seed
    value_range = options.value_range or (None if facts is None else facts.value_range)
    data = load_for(name, run.design(()), options.download, split_seed, recorded, value_range)
    shapes = run.summary.input_shape == data.facts.input_shape
    if not shapes or run.num_classes not in (None, data.facts.classes):
        raise misfit(run, data.facts, run.num_classes)
    return data


def _check(request: VerifyRequest) -> None:
    if request.seeds < 2:
        raise InvalidValueError(
            f"`seeds={request.seeds}`: at least 2 seeds are needed for a confidence interval"
        )
    if request.looks < 1:
        raise InvalidValueError(f"`looks={request.looks}`: give at least 1")
    if not 0 < request.margin < float("inf"):
        raise InvalidValueError(f"`margin={request.margin:g}`: give points above 0, such as 0.5")
    if request.module is not None and request.weights is not None:
        raise InvalidValueError("`weights` is for a MODEL: a module has its own weights")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidValueError("verify trains in one process: start it without torchrun")
