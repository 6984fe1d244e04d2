"""The tables of what mattered, and what is to be said beside them."""

from __future__ import annotations

from bamsearch.records import Estimate
from bamsearch.report.content import Report
from bamsearch.report.mattered import chance_text, effect_text, interval_text
from bamsearch.report.tables import Table
from bamsearch.report.text import EXPECTED, count_text, design_text


def effects_table(report: Report) -> Table:
    """Effects on accuracy, the largest first; none where nothing was trained."""
    found = report.mattered
    rows = tuple(
        (
            effect_text(one),
            f"{one.points:+.2f}",
            interval_text(one.low, one.high, signed=True),
            "" if one.distinguished else "not distinguished from 0",
            f"{one.designs:,}",
        )
        for one in (found.effects if found is not None else ())
    )
    return Table(("factor", "points", _confidence(report), "", "designs"), "lrrlr", rows)


def ranking_table(report: Report, top: int) -> Table:
    """What is expected of the best designs, and of those that have a role; none if untrained.

    Args:
        report: of a run.
        top: so many of the best.
    """
    found = report.mattered
    rows = tuple(
        (one.label, design_text(one.design), *estimate_cells(one.estimate))
        for one in (found.top(top) if found is not None else ())
    )
    numbers = (EXPECTED, _confidence(report), "trainings", "chance to be best")
    return Table(("rank", "design", *numbers), "llrrrr", rows)


def estimate_cells(one: Estimate | None) -> tuple[str, str, str, str]:
    """Expectation, its interval, trainings, chance; dashes where there are none."""
    if one is None:
        return ("–",) * 4
    interval = interval_text(one.low, one.high)
    return f"{one.mean:.2f}", interval, f"{one.trainings:,}", chance_text(one.chance)


def effects_legend(report: Report) -> str:
    """What the effects are, in words; or that there are none."""
    if report.mattered is None or not report.mattered.effects:
        return "Too few designs were trained to tell the effect of a site, of r or of d."
    return (
        "A site: BAM there, with r and d at their means, against none there. r, d: each doubling, "
        "at every site that has BAM. Intervals are over seeds, on these validation images, "
        f"{report.mattered.learned.confidence:.0%} each."
    )


def ranking_legend(report: Report) -> str:
    """What the ranking is, in words."""
    return (
        f"Of {count_text(len(report.mattered.ranking) if report.mattered else 0, 'design')}: the "
        "expected accuracy of a short training on these validation images, over seeds, given all "
        "trainings, and the chance that no other trained design is better."
    )


def _confidence(report: Report) -> str:
    return "" if report.mattered is None else f"{report.mattered.learned.confidence:.0%}"
