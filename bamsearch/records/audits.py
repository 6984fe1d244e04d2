"""The record of an audit: ``audit.json`` in its folder.

At the start it has the options and the designs of the sample, at the end also the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import asin, pi
from typing import Annotated, Any, Literal

from bamsearch.errors import RunError
from bamsearch.records.data import DataFacts
from bamsearch.records.designs import Insertions
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import (
    Amount,
    AnyNatural,
    Mark,
    Natural,
    Percent,
    Positive,
    Range,
)
from bamsearch.records.problems import Budget, Problem, Quantity, RecipeTable
from bamsearch.records.training_analysis import Effect

Setting = Literal["band", "space", "size"]
"""``space``: all designs of the sample with BAM. ``band``: those in the most expensive quarter of
the feasible designs, where a search under a budget looks. ``size``: as ``space``, with the number
of parameters held fixed (partial correlation)."""

Measure = Literal["tau", "rho"]
"""Kendall's tau-b, Spearman's rho."""

TRAIN = "train"
"""One training against the mean of the trainings with the other seeds."""

ANOTHER_SEED = "another seed"
"""One training against another one: the agreement that noise allows."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A design of the sample.

    Attributes:
        insertions: insertions; empty for the base.
        params: parameters of the network.
        macs: multiply-adds for one input.
        in_band: whether it is in the most expensive quarter of the feasible designs.
        accuracies: validation accuracy in percent, one per seed; None if the training diverged;
            empty before all are trained.
        scores: values of each score, one per draw (score seed); None if a draw failed on this
            design.
    """

    insertions: Insertions
    params: Amount
    macs: Amount
    in_band: bool
    accuracies: tuple[Percent | None, ...] = ()
    # One draw is stored as a number, as in records from before there were several.
    scores: Mapping[str, Annotated[tuple[float | None, ...], Mark.BARE]] = field(
        default_factory=dict
    )

    @property
    def mean(self) -> float | None:
        """Mean accuracy over the seeds; None if a training is missing or diverged."""
        measured = [value for value in self.accuracies if value is not None]
        complete = measured and len(measured) == len(self.accuracies)
        return sum(measured) / len(measured) if complete else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rank correlation of a score with trained accuracy.

    Attributes:
        score: name of the score, or :data:`TRAIN`, or :data:`ANOTHER_SEED`.
        setting: the designs it is computed over.
        measure: measure of correlation.
        designs: number of designs.
        value: the correlation, -1..1; None if undefined.
        low, high: its interval.
        more: the value minus that of ``params`` with the same trainings; None for ``params``.
        more_low, more_high: interval of that difference.
        reason: reason for a missing value or interval.
        draws: score seeds whose ranks were averaged. With one, its noise is not in the interval;
            with more, the interval resamples designs and draws.
        one_draw: mean correlation of a single draw; None with one draw.
        draw_sd: standard deviation of the correlation over draws; None with one draw.
    """

    score: str
    setting: Setting
    measure: Measure
    designs: Natural
    value: float | None = None
    low: float | None = None
    high: float | None = None
    more: float | None = None
    more_low: float | None = None
    more_high: float | None = None
    reason: str = ""
    draws: Positive = 1
    one_draw: float | None = None
    draw_sd: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the score is significantly better than ``params``: its interval is above 0."""
        return self.more_low is not None and self.more_low > 0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Noise ceiling: the best agreement that the noise of training allows.

    Attributes:
        setting: ``space`` or ``band``.
        designs: number of designs.
        run_sd: standard deviation of a design's accuracy over seeds, in points.
        paired_sd: the same without the shift that a seed gives all designs.
        design_sd: standard deviation of the designs without that noise, in points.
        pearson: correlation between two seeds, mean over pairs; None if undefined.
        reliability: reliability of the mean over the seeds, by Spearman and Brown, 0..1.
        highest: expected rho of a perfect score: the square root of the reliability.
    """

    setting: Setting
    designs: Natural
    run_sd: float
    paired_sd: float
    design_sd: float
    pearson: float | None = None
    reliability: float | None = None
    highest: float | None = None

    @property
    def highest_tau(self) -> float | None:
        """``highest`` as tau, by Greiner's relation for normal values."""
        return None if self.highest is None else 2 / pi * asin(min(max(self.highest, -1.0), 1.0))


@dataclass(frozen=True, slots=True)
class Audit(Problem, Stored):
    """Options and results of an audit.

    Attributes:
        data: training and validation data; the test split is not read.
        recipe: training recipe as JSON.
        number: requested designs; the sample has fewer if fewer are feasible.
        seeds: training seeds; the first is also the seed of the sample.
        scores: audited scores.
        quantity: quantity that defines the band.
        threshold: smallest added cost of a design in the band, in the unit of a budget.
        feasible_designs: number of feasible designs.
        exact: whether that number was counted rather than estimated.
        designs: the sample, in training order.
        device: device of the trainings.
        threads: torch threads on a CPU.
        command: command line.
        versions: versions of bamsearch, Python, torch, torchvision.
        created: date and time, UTC.
        agreements: agreements of each score in each setting; empty until the audit is finished.
        ceilings: noise ceilings.
        effects: effects of sites, r and d, if estimated.
        default: score that should be the default of a search without data; None if the audit is too
            small to tell.
        verdict: reason for the default, in a sentence or two.
        remarks: further remarks, one sentence each.
        score_seeds: number of draws of each score that depends on initial weights and images; their
            seeds are ``seeds[0]`` and the ones after it.
        source: source of the model, see :func:`bamsearch.records.sources.source_of`; None in audits
            of older versions.
    """

    data: DataFacts
    recipe: Annotated[Mapping[str, Any], RecipeTable]
    number: Positive
    seeds: Annotated[tuple[int, ...], Range(1)]
    scores: tuple[str, ...]
    quantity: Quantity
    threshold: int
    feasible_designs: AnyNatural
    exact: bool
    designs: tuple[Audited, ...]
    device: str = "cpu"
    threads: Positive = 1
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    agreements: tuple[Agreement, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    effects: tuple[Effect, ...] = ()
    default: str | None = None
    verdict: str = ""
    remarks: tuple[str, ...] = ()
    score_seeds: Positive = 1
    source: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the results have been computed."""
        return bool(self.agreements)

    def agreement(self, score: str, setting: Setting, measure: Measure = "tau") -> Agreement | None:
        """The agreement of a score with training; None if it was not audited."""
        key = (score, setting, measure)
        return next((a for a in self.agreements if (a.score, a.setting, a.measure) == key), None)

    def ceiling(self, setting: Setting) -> Ceiling | None:
        """The noise ceiling of a setting; None if unknown."""
        return next((ceiling for ceiling in self.ceilings if ceiling.setting == setting), None)


Audit.FORMAT = Format(
    Audit,
    "audit",
    RunError,
    "audit again, with another `name` or `force`",
    key="bamsearch_audit",
    file="audit.json",
)


@dataclass(frozen=True, slots=True)
class Cited:
    """An audit's result for the score of a search, as stored in the search's record.

    Attributes:
        name: name of the audit.
        data: data of its trainings.
        score: score of the search.
        setting: ``band``, or ``space`` if the band has too few designs.
        tau: Kendall's tau with trained accuracy.
        low, high: its interval, if any.
        designs: number of designs.
        another_seed: tau of one seed against another over the same designs.
        budgets: whether the audit had budgets.
        same_budgets: whether they were those of the search.
        draws: draws of the score, see :class:`Agreement`.
        one_draw: mean tau of a single draw, as a search uses it; None with one draw.
    """

    name: str
    data: str
    score: str
    setting: Setting
    tau: float
    low: float | None
    high: float | None
    designs: Natural
    another_seed: float | None
    budgets: bool
    same_budgets: bool
    draws: Positive = 1
    one_draw: float | None = None


def cited(audit: Audit, score: str, budgets: tuple[Budget, ...]) -> Cited | None:
    """An audit's result for a score; None if it was not audited.

    Args:
        audit: a finished audit.
        score: name of the score.
        budgets: budgets of the search.
    """
    settings: tuple[Setting, ...] = ("band", "space")
    for setting in settings:
        agreement = audit.agreement(score, setting)
        if agreement is not None and agreement.value is not None:
            other = audit.agreement(ANOTHER_SEED, setting)
            limits = [{(b.quantity, b.limit) for b in many} for many in (audit.budgets, budgets)]
            return Cited(
                audit.name,
                audit.data.name,
                score,
                setting,
                agreement.value,
                agreement.low,
                agreement.high,
                agreement.designs,
                None if other is None else other.value,
                bool(limits[0]),
                limits[0] == limits[1],
                agreement.draws,
                agreement.one_draw,
            )
    return None
