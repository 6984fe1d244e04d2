"""What an audit has shown of the scores: ``audit.json`` in its folder.

At the start it holds what is asked and the designs of the sample, at the end all that was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import asin, pi
from typing import Annotated, Any, Literal

from bamsearch.errors import RunError
from bamsearch.records.budgets import Budget, Quantity
from bamsearch.records.choices import Init, Variant
from bamsearch.records.codec import Format
from bamsearch.records.costs import ModelSummary
from bamsearch.records.data import DataFacts
from bamsearch.records.designs import Design, Insertions
from bamsearch.records.hints import (
    Amount,
    AnyNatural,
    Mark,
    Natural,
    Percent,
    Positive,
    Range,
    Table,
)
from bamsearch.records.learned import Effect
from bamsearch.records.tables import RecipeTable, SpaceTable

AUDIT_VERSION = 1
"""Format of ``audit.json``; raised only when an older bamsearch could misread a newer audit."""

Setting = Literal["band", "space", "size"]
"""``space``: all designs of the sample that have BAM. ``band``: those in the most expensive quarter
of what fits, where a search under a budget looks. ``size``: as ``space``, with the number of
parameters held fixed (partial correlation)."""

Measure = Literal["tau", "rho"]
"""Kendall's tau-b, Spearman's rho."""

TRAIN = "train"
"""One training, against the mean of the trainings with the other seeds."""

ANOTHER_SEED = "another seed"
"""One training against one other: what noise leaves for any score to find."""


@dataclass(frozen=True, slots=True)
class Audited:
    """A design of the sample.

    Attributes:
        insertions: the design's; none is the base.
        params: of the network.
        macs: multiply-adds for one input.
        in_band: whether it is in the most expensive quarter of what fits.
        accuracies: on the validation images, in per cent, one a seed; None where the training
            diverged; empty before all are trained.
        scores: each score's values, one per draw (score seed); None where a draw failed on this
            design.
    """

    insertions: Insertions
    params: Amount
    macs: Amount
    in_band: bool
    accuracies: tuple[Percent | None, ...] = ()
    # One draw is a number, as in records of before there were several.
    scores: Mapping[str, Annotated[tuple[float | None, ...], Mark.BARE]] = field(
        default_factory=dict
    )

    @property
    def mean(self) -> float | None:
        """Mean accuracy over the seeds; None unless all of its trainings have come to an end."""
        measured = [value for value in self.accuracies if value is not None]
        complete = measured and len(measured) == len(self.accuracies)
        return sum(measured) / len(measured) if complete else None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a score orders designs as training does.

    Attributes:
        score: its name; or :data:`TRAIN`, or :data:`ANOTHER_SEED`.
        setting: over which designs.
        measure: of the correlation.
        designs: how many.
        value: the correlation, -1..1; None where there is none.
        low: lower end of its interval.
        high: upper end.
        more: the value less that of ``params`` with the same trainings; None for ``params``.
        more_low: lower end of the interval of that difference.
        more_high: upper end.
        reason: why there is no value, or no interval.
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
    def told(self) -> bool:
        """Whether the interval of the difference to ``params`` lies above 0."""
        return self.more_low is not None and self.more_low > 0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the noise of training leaves for a score to find.

    Attributes:
        setting: over which designs: ``space`` or ``band``.
        designs: how many.
        run_sd: how far the accuracies of one design spread over seeds, in points.
        paired_sd: the same without what a seed does to all designs alike.
        design_sd: how far the designs themselves spread, without that noise; in points.
        pearson: correlation of one seed with another, mean over pairs; None if there is none.
        reliability: of the mean over the seeds, by Spearman and Brown, 0..1.
        highest: rho that can be expected of a perfect score at the most: its square root.
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
        """``highest`` as a tau, by Greiner's relation for normal values."""
        return None if self.highest is None else 2 / pi * asin(min(max(self.highest, -1.0), 1.0))


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit was asked for, and what it found.

    Attributes:
        name: of the audit.
        summary: of the model.
        variant: which BAM.
        init: how it starts.
        num_classes: of the model's head.
        space: the space's file, parsed.
        with_stem: whether the stem is in it too.
        budgets: what every design keeps.
        data: what is trained and validated on; the test split is not read.
        recipe: how, as JSON takes it.
        number: designs that were asked for; the sample has fewer where no more fit.
        seeds: of the trainings; the first is also that of the sample.
        scores: that are audited.
        quantity: what the band is measured in.
        threshold: what a design in the band adds at least, in the unit of a budget.
        feasible_designs: how many fit.
        exact: whether that was counted, else estimated.
        designs: the sample, in the order of training.
        device: where it is trained.
        threads: torch's, on a CPU.
        command: what was typed.
        versions: of bamsearch, Python, torch, torchvision.
        created: date and time, UTC.
        agreements: of each score, in each setting; empty before the audit is finished.
        ceilings: what noise leaves.
        effects: of sites, r and d, where they were worked out.
        default: the score that deserves to be the default of a search without data; None if the
            audit is too small to say.
        verdict: why, in a sentence or two.
        remarks: what else is to be known, a sentence each.
        score_seeds: number of draws of each score that depends on initial weights and images: with
            ``seeds[0]`` and the seeds that follow it.
        source: the model's, see :func:`bamsearch.records.sources.source_of`; None in audits of
            older versions.
    """

    name: str
    summary: ModelSummary
    variant: Variant
    init: Init
    num_classes: Positive | None
    space: Annotated[Mapping[str, Any], Table(SpaceTable)]
    with_stem: bool
    budgets: tuple[Budget, ...]
    data: DataFacts
    recipe: Annotated[Mapping[str, Any], Table(RecipeTable)]
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
    def model(self) -> str:
        """The MODEL."""
        return self.summary.model

    @property
    def finished(self) -> bool:
        """Whether all is trained, and worked out."""
        return bool(self.agreements)

    def design(self, audited: Audited) -> Design:
        """A design of the sample as one that can be built."""
        return Design(
            self.model,
            self.summary.input_shape,
            audited.insertions,
            self.variant,
            self.init,
            self.num_classes,
            how=self.summary.how,
        )

    def agreement(self, score: str, setting: Setting, measure: Measure = "tau") -> Agreement | None:
        """How far a score agrees with training; None if that was not asked."""
        wanted = (score, setting, measure)
        found = (one for one in self.agreements if (one.score, one.setting, one.measure) == wanted)
        return next(found, None)

    def ceiling(self, setting: Setting) -> Ceiling | None:
        """What noise leaves in a setting; None where that is not known."""
        return next((ceiling for ceiling in self.ceilings if ceiling.setting == setting), None)

    def to_json(self) -> str:
        """The audit as indented JSON text, the content of ``audit.json``."""
        return AUDIT.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "audit.json") -> Audit:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, a key or value that does not fit, or made by a newer bamsearch.
        """
        return AUDIT.parse(text, source)


AUDIT: Format[Audit] = Format(
    Audit,
    "audit",
    RunError,
    "audit again, with another --name or --force",
    key="bamsearch_audit",
    version=AUDIT_VERSION,
)


@dataclass(frozen=True, slots=True)
class Cited:
    """What an audit says of the score of a search, as the search's record keeps it.

    Attributes:
        name: of the audit.
        data: that it was trained on.
        score: the search's.
        setting: over which designs: ``band``, or ``space`` where the band has too few.
        tau: Kendall's, with trained accuracy.
        low: lower end of its interval; None where there is none.
        high: upper end.
        designs: how many.
        another_seed: tau of one seed against another over the same designs.
        budgets: whether the audit had any.
        same_budgets: whether it had those of the search.
        draws: of the score, see :class:`Agreement`.
        one_draw: mean tau of a single draw, which is what a search takes; None with one draw.
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
    """What an audit says of a score; None if it says nothing.

    Args:
        audit: a finished one.
        score: its name.
        budgets: of the search.
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
