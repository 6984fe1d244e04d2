"""Tables of effects and of the ranking, with their legends."""

from __future__ import annotations

from bamsearch.records import AccuracyEstimate
from bamsearch.reporting.content import Report
from bamsearch.reporting.tables import Table
from bamsearch.reporting.text import EXPECTED, count_text, design_text
from bamsearch.reporting.training_effects import chance_text, effect_text, interval_text


def effects_table(report: Report) -> Table:
    """Effects on accuracy, the largest first; empty if nothing was trained."""
    training_effects = report.training_effects
    rows = tuple(
        (
            effect_text(effect),
            f"{effect.points:+.2f}",
            interval_text(effect.low, effect.high, signed=True),
            "" if effect.distinguished else "not distinguishable from 0",
            f"{effect.designs:,}",
        )
        for effect in (training_effects.effects if training_effects is not None else ())
    )
    return Table(("factor", "points", _confidence(report), "", "designs"), "lrrlr", rows)


def ranking_table(report: Report, top: int) -> Table:
    """Expected accuracy of the best designs and of those with a role; empty without trainings.

    Args:
        report: report of a run.
        top: number of the best designs.
    """
    training_effects = report.training_effects
    rows = tuple(
        (ranked.label, design_text(ranked.design), *estimate_cells(ranked.estimate))
        for ranked in (training_effects.top(top) if training_effects is not None else ())
    )
    numbers = (EXPECTED, _confidence(report), "trainings", "chance to be best")
    return Table(("rank", "design", *numbers), "llrrrr", rows)


def estimate_cells(estimate: AccuracyEstimate | None) -> tuple[str, str, str, str]:
    """Expected accuracy, its interval, trainings, chance to be best; dashes without an estimate."""
    if estimate is None:
        return ("–",) * 4
    interval = interval_text(estimate.low, estimate.high)
    return f"{estimate.mean:.2f}", interval, f"{estimate.trainings:,}", chance_text(estimate.chance)


def effects_legend(report: Report) -> str:
    """Legend of the effects, or the reason why there are none."""
    if report.training_effects is None or not report.training_effects.effects:
        return "Too few designs were trained to estimate the effects of sites, r and d."
    return (
        "Site: BAM at the site, with r and d at their means, against no BAM. r, d: each doubling, "
        "at all sites with BAM. Intervals cover seeds, on these validation images; they are "
        f"{report.training_effects.analysis.confidence:.0%} each, not simultaneous."
    )


def ranking_legend(report: Report) -> str:
    """Legend of the ranking."""
    designs = count_text(
        len(report.training_effects.ranking) if report.training_effects else 0, "design"
    )
    return (
        f"{designs} trained. Expected accuracy of a short training on these validation images, "
        "given all trainings, and the chance that no other trained design is better."
    )


def _confidence(report: Report) -> str:
    return (
        ""
        if report.training_effects is None
        else f"{report.training_effects.analysis.confidence:.0%}"
    )
