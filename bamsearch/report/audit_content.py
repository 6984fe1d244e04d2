"""What the report of an audit says, worked out once for all formats."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit, Audited, Measure, Setting
from bamsearch.report.audit_draws import intervals_text, one_draw_text, seeds_text
from bamsearch.report.tables import Table
from bamsearch.report.text import (
    count_text,
    design_text,
    giga,
    mega,
    shape_text,
)
from bamsearch.searching.budget import amount_text
from bamsearch.text import number_text, printable

SETTINGS: dict[Setting, str] = {
    "band": "inside the band",
    "space": "over the space",
    "size": "size held fixed",
}
"""Titles, in the order in which they matter to a search under a budget."""

MEASURES: dict[Measure, str] = {"tau": "Kendall's tau-b", "rho": "Spearman's rho"}

LABELS = {TRAIN: "train (one seed)", ANOTHER_SEED: "one seed, of another"}
"""What a row is called that is no zero-cost score."""


@dataclass(frozen=True)
class AuditReport:
    """All that a report says of one audit.

    Attributes:
        audit: the record.
        place: its name or folder, as commands take it.
        headline: the answer.
        remarks: what it rests on, a line each.
        title: model, input and budget.
        sample: what was trained, in a line.
        agreements: measure → table, a row a score.
        intervals: what the intervals are over.
        reasons: why there are dashes, a sentence each.
        noise: what noise leaves for a score to find.
        effects: of sites, r and d; no rows where they were not worked out.
        designs: of the sample, the most accurate first.
        provenance: names and texts.
        reproduce: commands.
    """

    audit: Audit
    place: str
    headline: str
    remarks: tuple[str, ...]
    title: str
    sample: str
    agreements: dict[Measure, Table]
    intervals: str
    reasons: tuple[str, ...]
    noise: Table
    effects: Table
    designs: Table
    provenance: Table
    reproduce: tuple[str, ...]


def make_audit_report(audit: Audit, place: str) -> AuditReport:
    """The report of an audit: of the same record, always the same.

    Args:
        audit: the record, finished or not.
        place: its name or folder, as commands take it.
    """
    finished = audit.finished
    return AuditReport(
        audit,
        place,
        audit.verdict if finished else "Not finished: the audit was interrupted, or is at work.",
        audit.remarks,
        _title(audit),
        _sample(audit),
        {measure: agreement_table(audit, measure) for measure in MEASURES},
        intervals_text(audit),
        _reasons(audit),
        noise_table(audit),
        effects_table(audit),
        designs_table(audit),
        _provenance(audit),
        _reproduce(audit, place),
    )


def score_names(audit: Audit) -> list[str]:
    """The scores, the one nearest to training inside the band first; then what trains."""
    names = list(dict.fromkeys(one.score for one in audit.agreements))

    def worth(name: str) -> tuple[bool, bool, float]:
        found = audit.agreement(name, "band")
        value = None if found is None else found.value
        return name in LABELS, value is None, -(value or 0.0)

    return sorted(names, key=worth)


def label(score: str) -> str:
    """What a score is called in tables and charts."""
    return LABELS.get(score, score)


def agreement_table(audit: Audit, measure: Measure) -> Table:
    """A row a score: its correlation with training in each setting, and that of one draw."""
    header = ["", *SETTINGS.values(), "inside the band, less params"]
    several = any(one.one_draw is not None for one in audit.agreements)
    header += ["one draw, inside the band"] * several
    rows = []
    for name in score_names(audit):
        found = [audit.agreement(name, setting, measure) for setting in SETTINGS]
        rows.append(
            (
                label(name),
                *map(_value, found),
                _more(found[0]),
                *[one_draw_text(found[0])] * several,
            )
        )
    return Table(tuple(header), "l" + "r" * (len(header) - 1), tuple(rows))


def noise_table(audit: Audit) -> Table:
    """How far runs and designs spread, and what that leaves."""
    rows: dict[str, list[str]] = {}
    for one in audit.ceilings:
        cells = {
            "designs": str(one.designs),
            "one training spreads over seeds by": f"{one.run_sd:.2f} points",
            "… without what a seed does to all alike": f"{one.paired_sd:.2f} points",
            "designs spread, without that noise, by": f"{one.design_sd:.2f} points",
            "correlation of one seed with another": _number(one.pearson),
            f"reliability of the mean of {len(audit.seeds)}": _number(one.reliability),
            "rho of a perfect score": _number(one.highest),
            "tau of a perfect score": _number(one.highest_tau),
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    header = ("", *(SETTINGS[one.setting] for one in audit.ceilings))
    return Table(
        header,
        "l" + "r" * len(audit.ceilings),
        tuple((name, *cells) for name, cells in rows.items()),
    )


def effects_table(audit: Audit) -> Table:
    """The effect of each site, of r and of d."""
    rows = tuple(
        (
            ", ".join(map(printable, one.sites)),
            {"site": "BAM there", "r": "each doubling of r", "d": "each doubling of d"}[one.aspect],
            f"{one.points:+.2f} [{one.low:+.2f}, {one.high:+.2f}]",
            str(one.designs),
        )
        for one in audit.effects
    )
    return Table(("site", "", "points of accuracy, 95 %", "designs"), "llrr", rows)


def ranked(audit: Audit) -> list[Audited]:
    """The designs of the sample, the most accurate first; those without a mean last."""
    return sorted(audit.designs, key=lambda one: (one.mean is None, -(one.mean or 0.0)))


def designs_table(audit: Audit) -> Table:
    """A row a design."""
    header = ["design", "accuracy, %", *(f"seed {seed}" for seed in audit.seeds)]
    header += ["params", "GFLOPs", "band"]
    rows = []
    for one in ranked(audit):
        seeds = [_per_cent(value) for value in one.accuracies] or ["–"] * len(audit.seeds)
        mean = _per_cent(one.mean) if one.accuracies else "–"
        sizes = [mega(one.params), giga(one.macs), "yes" if one.in_band else ""]
        rows.append((design_text(audit.design(one)), mean, *seeds, *sizes))
    return Table(tuple(header), "l" + "r" * (len(header) - 2) + "l", tuple(rows))


def _title(audit: Audit) -> str:
    limits = [amount_text(b.quantity, b.limit) for b in audit.budgets]
    budget = f"budget {', '.join(limits)}" if limits else "no budget"
    return f"{printable(audit.model)} · {shape_text(audit.summary.input_shape)} · {budget}"


def _sample(audit: Audit) -> str:
    fit = number_text(audit.feasible_designs)
    about = "" if audit.exact else "about "
    band = sum(one.in_band for one in audit.designs)
    designs, seeds = len(audit.designs), len(audit.seeds)
    added = f"{giga(audit.threshold)} GFLOPs"
    if audit.quantity != "gflops":
        added = amount_text(audit.quantity, audit.threshold)
    return (
        f"{count_text(designs, 'design')} of {about}{fit} that fit, {band} in the band "
        f"(+{added} or more) × {count_text(seeds, 'seed')} = {designs * seeds} trainings"
    )


def _reasons(audit: Audit) -> tuple[str, ...]:
    found: dict[str, list[str]] = {}
    for one in audit.agreements:
        if one.reason and one.measure == "tau":
            where = f"{label(one.score)}, {SETTINGS[one.setting]}"
            found.setdefault(one.reason, []).append(where)
    return tuple(f"{'; '.join(where)}: {reason}." for reason, where in found.items())


def _provenance(audit: Audit) -> Table:
    facts, recipe = audit.data, audit.recipe
    sizes = f"{facts.train:,} to train on, {facts.validation:,} to validate on"
    threads = f", {audit.threads} torch threads" if audit.threads != 1 else ""
    rows = (
        ("command", audit.command or "from Python"),
        ("started", audit.created),
        ("model", f"{audit.model}, input {shape_text(audit.summary.input_shape)}"),
        ("BAM", f"variant {audit.variant}, init {audit.init}"),
        ("space", f"{audit.space.get('name', '')}{' with the stem' if audit.with_stem else ''}"),
        ("data", f"{facts.name}, {sizes}, hash {facts.hash}"),
        (
            "recipe",
            f"{recipe.get('name')}: {count_text(int(recipe['epochs']), 'epoch')}, "
            f"batch {recipe['batch_size']}, lr {recipe['lr']:g}",
        ),
        ("seeds", ", ".join(map(str, audit.seeds))),
        ("score seeds", seeds_text(audit)),
        ("device", audit.device + (threads if audit.device == "cpu" else "")),
        ("versions", ", ".join(f"{name} {number}" for name, number in audit.versions.items())),
    )
    return Table(("", ""), "ll", rows)


def _reproduce(audit: Audit, place: str) -> tuple[str, ...]:
    lines = (audit.command,) if audit.command.startswith("bamsearch audit") else ()
    return (*lines, f"bamsearch report {shlex.quote(place)}")


def _value(one: Agreement | None) -> str:
    if one is None or one.value is None:
        return "–"
    interval = "" if one.low is None else f" [{_number(one.low)}, {_number(one.high)}]"
    return f"{_number(one.value)}{interval}"


def _more(one: Agreement | None) -> str:
    if one is None or one.more is None:
        return "–"
    low, high = one.more_low, one.more_high
    interval = "" if low is None else f" [{_number(low, '+')}, {_number(high, '+')}]"
    return f"{_number(one.more, '+')}{interval}"


def _number(value: float | None, sign: str = "") -> str:
    """Two decimals; what rounds to 0 has no minus."""
    return "–" if value is None else f"{round(value, 2) + 0.0:{sign}.2f}"


def _per_cent(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"
