"""The content of an audit's report, computed once for all formats."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit, Audited, Measure, Setting
from bamsearch.reporting.audit.draws import intervals_text, one_draw_text, seeds_text
from bamsearch.reporting.tables import Table
from bamsearch.reporting.text import count_text, design_text, giga, mega, shape_text
from bamsearch.space.budget import amount_text
from bamsearch.text import number_text, printable

SETTINGS: dict[Setting, str] = {
    "band": "inside the band",
    "space": "over the space",
    "size": "size held fixed",
}
"""Titles, the most relevant to a search under a budget first."""

MEASURE_NAMES: dict[Measure, str] = {"tau": "Kendall's tau-b", "rho": "Spearman's rho"}

LABELS = {TRAIN: "train (one seed)", ANOTHER_SEED: "one seed vs. another"}
"""Labels of the rows that are not zero-cost scores."""


@dataclass(frozen=True)
class AuditReport:
    """The content of one audit's report.

    Attributes:
        audit: the record.
        place: its name or folder, as commands take it.
        headline: the answer.
        remarks: grounds of the answer, one line each.
        title: model, input and budget.
        sample: the trained designs, in one line.
        agreements: measure → table, one row per score.
        intervals: sentence on what the intervals cover.
        reasons: reasons for missing values, one sentence each.
        noise: noise of training and the ceiling that it sets.
        effects: effects of sites, r and d; no rows if they were not estimated.
        designs: designs of the sample, the most accurate first.
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


def make_audit_report(audit: Audit, name: str) -> AuditReport:
    """The report of an audit; the same record always gives the same report.

    Args:
        audit: the record, finished or not.
        name: its name or folder, as commands take it.
    """
    finished = audit.finished
    return AuditReport(
        audit,
        name,
        audit.verdict if finished else "Not finished: the audit was interrupted or is running.",
        audit.remarks,
        _title(audit),
        _sample(audit),
        {measure: agreement_table(audit, measure) for measure in MEASURE_NAMES},
        intervals_text(audit),
        _reasons(audit),
        noise_table(audit),
        audit_effects_table(audit),
        designs_table(audit),
        _provenance(audit),
        _reproduce(audit, name),
    )


def score_names(audit: Audit) -> list[str]:
    """Zero-cost scores, the one closest to training inside the band first; then the others."""
    names = list(dict.fromkeys(agreement.score for agreement in audit.agreements))

    def worth(name: str) -> tuple[bool, bool, float]:
        agreement = audit.agreement(name, "band")
        value = None if agreement is None else agreement.value
        return name in LABELS, value is None, -(value or 0.0)

    return sorted(names, key=worth)


def label(score: str) -> str:
    """Label of a score in tables and charts."""
    return LABELS.get(score, score)


def agreement_table(audit: Audit, measure: Measure) -> Table:
    """Correlation of each score with training in each setting, and that of one draw."""
    header = ["", *SETTINGS.values(), "inside the band, minus params"]
    several = any(agreement.one_draw is not None for agreement in audit.agreements)
    header += ["one draw, inside the band"] * several
    rows = []
    for name in score_names(audit):
        agreements = [audit.agreement(name, setting, measure) for setting in SETTINGS]
        rows.append(
            (
                label(name),
                *map(_value, agreements),
                _more(agreements[0]),
                *[one_draw_text(agreements[0])] * several,
            )
        )
    return Table(tuple(header), "l" + "r" * (len(header) - 1), tuple(rows))


def noise_table(audit: Audit) -> Table:
    """Spread of trainings and designs, and the ceiling that noise sets."""
    rows: dict[str, list[str]] = {}
    for ceiling in audit.ceilings:
        cells = {
            "designs": str(ceiling.designs),
            "standard deviation of one training over seeds": f"{ceiling.run_sd:.2f} points",
            "… without the shift that a seed gives all designs": f"{ceiling.paired_sd:.2f} points",
            "standard deviation of designs, without that noise": f"{ceiling.design_sd:.2f} points",
            "correlation between two seeds": _number(ceiling.pearson),
            f"reliability of the mean of {len(audit.seeds)} seeds": _number(ceiling.reliability),
            "rho of a perfect score": _number(ceiling.highest),
            "tau of a perfect score": _number(ceiling.highest_tau),
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    header = ("", *(SETTINGS[ceiling.setting] for ceiling in audit.ceilings))
    return Table(
        header,
        "l" + "r" * len(audit.ceilings),
        tuple((name, *cells) for name, cells in rows.items()),
    )


def audit_effects_table(audit: Audit) -> Table:
    """Effects of sites, r and d."""
    rows = tuple(
        (
            ", ".join(map(printable, effect.sites)),
            {"site": "BAM", "r": "doubling r", "d": "doubling d"}[effect.aspect],
            f"{effect.points:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}]",
            str(effect.designs),
        )
        for effect in audit.effects
    )
    return Table(("site", "", "points of accuracy, 95%", "designs"), "llrr", rows)


def ranked(audit: Audit) -> list[Audited]:
    """The designs of the sample, the most accurate first; those without a mean last."""
    return sorted(audit.designs, key=lambda design: (design.mean is None, -(design.mean or 0.0)))


def designs_table(audit: Audit) -> Table:
    """Accuracy and size of each design."""
    header = ["design", "accuracy, %", *(f"seed {seed}" for seed in audit.seeds)]
    header += ["params", "GFLOPs", "band"]
    rows = []
    for design in ranked(audit):
        seeds = [_percent(value) for value in design.accuracies] or ["–"] * len(audit.seeds)
        mean = _percent(design.mean) if design.accuracies else "–"
        sizes = [mega(design.params), giga(design.macs), "yes" if design.in_band else ""]
        rows.append((design_text(audit.design(design.insertions)), mean, *seeds, *sizes))
    return Table(tuple(header), "l" + "r" * (len(header) - 2) + "l", tuple(rows))


def _title(audit: Audit) -> str:
    limits = [amount_text(b.quantity, b.limit) for b in audit.budgets]
    budget = f"budget {', '.join(limits)}" if limits else "no budget"
    return f"{printable(audit.model)} · {shape_text(audit.summary.input_shape)} · {budget}"


def _sample(audit: Audit) -> str:
    feasible = number_text(audit.feasible_designs)
    about = "" if audit.exact else "about "
    band = sum(design.in_band for design in audit.designs)
    designs, seeds = len(audit.designs), len(audit.seeds)
    added = f"{giga(audit.threshold)} GFLOPs"
    if audit.quantity != "gflops":
        added = amount_text(audit.quantity, audit.threshold)
    return (
        f"{designs} of {about}{feasible} feasible designs, {band} in the band "
        f"(+{added} or more) × {count_text(seeds, 'seed')} = {designs * seeds} trainings"
    )


def _reasons(audit: Audit) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for agreement in audit.agreements:
        if agreement.reason and agreement.measure == "tau":
            where = f"{label(agreement.score)}, {SETTINGS[agreement.setting]}"
            by_reason.setdefault(agreement.reason, []).append(where)
    return tuple(f"{'; '.join(where)}: {reason}." for reason, where in by_reason.items())


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


def _reproduce(audit: Audit, name: str) -> tuple[str, ...]:
    lines = (audit.command,) if audit.command.startswith("bamsearch audit") else ()
    return (*lines, f"bamsearch report {shlex.quote(name)}")


def _value(agreement: Agreement | None) -> str:
    if agreement is None or agreement.value is None:
        return "–"
    interval = (
        "" if agreement.low is None else f" [{_number(agreement.low)}, {_number(agreement.high)}]"
    )
    return f"{_number(agreement.value)}{interval}"


def _more(agreement: Agreement | None) -> str:
    if agreement is None or agreement.more is None:
        return "–"
    low, high = agreement.more_low, agreement.more_high
    interval = "" if low is None else f" [{_number(low, '+')}, {_number(high, '+')}]"
    return f"{_number(agreement.more, '+')}{interval}"


def _number(value: float | None, sign: str = "") -> str:
    """Two decimals, without -0.00."""
    return "–" if value is None else f"{round(value, 2) + 0.0:{sign}.2f}"


def _percent(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"
