"""The content of an audit's report, computed once for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bamsearch.records import (
    ANOTHER_SEED,
    TRAIN,
    Agreement,
    Audit,
    Audited,
    Effect,
    Measure,
    Setting,
)
from bamsearch.reporting import content, text
from bamsearch.reporting.tables import Column, Table
from bamsearch.score.table import is_drawn
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
    """The content of one audit's report; the same record always gives the same report.

    Attributes:
        audit: the record, finished or not.
        place: its name or folder, as commands take it.
    """

    audit: Audit
    place: str

    @property
    def headline(self) -> str:
        """The answer."""
        unfinished = "Not finished: the audit was interrupted or is running."
        return self.audit.verdict if self.audit.finished else unfinished

    @property
    def title(self) -> str:
        """Model, input and budget."""
        limits = text.limits_text(self.audit.budgets)
        shape = text.shape_text(self.audit.summary.input_shape)
        budget = f"budget {limits}" if limits else "no budget"
        return f"{printable(self.audit.model)} · {shape} · {budget}"

    @property
    def agreements(self) -> dict[Measure, Table]:
        """Measure → table, one row per score."""
        return {measure: agreement_table(self.audit, measure) for measure in MEASURE_NAMES}

    @property
    def reproduce(self) -> tuple[str, ...]:
        """Commands."""
        return content.reproduce("audit", self.audit.command, self.place)

    @property
    def sample(self) -> str:
        """The trained designs, in one line."""
        audit = self.audit
        feasible = number_text(audit.feasible_designs)
        about = "" if audit.exact else "about "
        band = sum(design.in_band for design in audit.designs)
        designs, seeds = len(audit.designs), len(audit.seeds)
        added = amount_text(audit.quantity, audit.threshold)
        return (
            f"{designs} of {about}{feasible} feasible designs, {band} in the band "
            f"(+{added} or more) × {text.count_text(seeds, 'seed')} = {designs * seeds} trainings"
        )

    @property
    def intervals(self) -> str:
        """What the intervals cover, and the scores whose noise of the draw they leave out."""
        draws = {
            agreement.score: agreement.draws
            for agreement in self.audit.agreements
            if is_drawn(agreement.score) and agreement.score not in (TRAIN, ANOTHER_SEED)
        }
        several = any(number > 1 for number in draws.values())
        over = "over designs and draws of the score" if several else "over designs"
        once = ", ".join(name for name, number in draws.items() if number == 1)
        noise = ""
        if once:
            noise = (
                f" Scores drawn once ({once}): the interval does not include the noise of the draw."
            )
        return (
            f"In brackets: 95% bootstrap intervals {over}; those of the differences to params hold "
            f"together.{noise} A dash means no value; the reasons are below."
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for missing values, one sentence each."""
        by_reason: dict[str, list[str]] = {}
        for agreement in self.audit.agreements:
            if agreement.reason and agreement.measure == "tau":
                where = f"{label(agreement.score)}, {SETTINGS[agreement.setting]}"
                by_reason.setdefault(agreement.reason, []).append(where)
        return tuple(f"{'; '.join(where)}: {reason}." for reason, where in by_reason.items())

    @property
    def noise(self) -> Table:
        """Spread of trainings and designs, and the ceiling that noise sets."""
        ceilings = self.audit.ceilings
        points, two = "{:.2f} points".format, "{:z.2f}".format
        reliability = f"reliability of the mean of {len(self.audit.seeds)} seeds"
        lines = {
            "designs": [str(c.designs) for c in ceilings],
            "standard deviation of one training over seeds": [points(c.run_sd) for c in ceilings],
            "… without the shift that a seed gives all designs": [
                points(c.paired_sd) for c in ceilings
            ],
            "standard deviation of designs, without that noise": [
                points(c.design_sd) for c in ceilings
            ],
            "correlation between two seeds": [text.optional(two, c.pearson) for c in ceilings],
            reliability: [text.optional(two, c.reliability) for c in ceilings],
            "rho of a perfect score": [text.optional(two, c.highest) for c in ceilings],
            "tau of a perfect score": [text.optional(two, c.highest_tau) for c in ceilings],
        }
        rows = tuple((name, *cells) for name, cells in lines.items() if ceilings)
        titles = [SETTINGS[ceiling.setting] for ceiling in ceilings]
        return Table(("", *titles), "l" + "r" * len(titles), rows)

    @property
    def effects(self) -> Table:
        """Effects of sites, r and d; no rows if they were not estimated."""
        aspects = {"site": "BAM", "r": "doubling r", "d": "doubling d"}
        columns: list[Column[Effect]] = [
            ("site", "l", lambda effect: ", ".join(map(printable, effect.sites))),
            ("", "l", lambda effect: aspects[effect.aspect]),
            (
                "points of accuracy, 95%",
                "r",
                lambda effect: text.estimate_text(effect.points, effect.low, effect.high, "+.2f"),
            ),
            ("designs", "r", lambda effect: str(effect.designs)),
        ]
        return Table.of(self.audit.effects, columns)

    @property
    def designs(self) -> Table:
        """Accuracy and size of each design, the most accurate first; those without a mean last."""
        audit = self.audit
        header = ["design", "accuracy, %", *(f"seed {seed}" for seed in audit.seeds)]
        header += ["params", "GFLOPs", "band"]
        ranked = sorted(audit.designs, key=lambda each: (each.mean is None, -(each.mean or 0.0)))
        rows = []
        for design in ranked:
            accuracies = [
                text.optional("{:.2f}".format, value, "diverged")
                for value in (design.mean, *design.accuracies)
            ]
            if not design.accuracies:
                accuracies = ["–"] * (1 + len(audit.seeds))
            sizes = [
                text.mega(design.params),
                text.giga(design.macs),
                "yes" if design.in_band else "",
            ]
            rows.append((text.design_text(audit.design(design.insertions)), *accuracies, *sizes))
        return Table(tuple(header), "l" + "r" * (len(header) - 2) + "l", tuple(rows))

    @property
    def provenance(self) -> Table:
        """Names and texts."""
        audit = self.audit
        recipe = audit.recipe
        epochs = text.count_text(int(recipe["epochs"]), "epoch")
        facts = {
            "command": audit.command or "from Python",
            **content.problem_facts(audit),
            "data": content.data_text(audit.data),
            "recipe": f"{recipe.get('name')}: {epochs}, batch {recipe['batch_size']}, "
            f"lr {recipe['lr']:g}",
            "seeds": ", ".join(map(str, audit.seeds)),
            "score seeds": seeds_text(audit),
            "device": content.device_text(audit),
            "versions": content.versions_text(audit),
        }
        return Table(("", ""), "ll", tuple(facts.items()))


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
                *[_one_draw(agreements[0])] * several,
            )
        )
    return Table(tuple(header), "l" + "r" * (len(header) - 1), tuple(rows))


def _value(agreement: Agreement | None) -> str:
    if agreement is None:
        return "–"
    return _interval(agreement.value, agreement.low, agreement.high, "z.2f")


def _more(agreement: Agreement | None) -> str:
    if agreement is None:
        return "–"
    return _interval(agreement.more, agreement.more_low, agreement.more_high, "+z.2f")


def _interval(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:{form}}"
    return text.estimate_text(value, low, high, form)


def _one_draw(agreement: Agreement | None) -> str:
    """Mean correlation of one draw, and its standard deviation over draws."""
    if agreement is None or agreement.one_draw is None or agreement.draw_sd is None:
        return "–"
    return f"{agreement.one_draw:z.2f} (sd {agreement.draw_sd:.2f})"


def seeds_text(audit: Audit) -> str:
    """Seeds of the draws."""
    first, last = audit.seeds[0], audit.seeds[0] + audit.score_seeds - 1
    return f"{first} to {last}" if last > first else str(first)


def score_title(audit: Audit, score: str) -> str:
    """Suffix of an axis or column title for the values of :func:`mean_ranks`."""
    draws = max((len(design.scores.get(score, ())) for design in audit.designs), default=1)
    return f", mean rank of {draws} draws" if draws > 1 else ""


def mean_ranks(designs: Sequence[Audited], score: str) -> list[float | None]:
    """A score's value for each design; with several draws, the mean rank over them.

    Args:
        designs: the ranked designs.
        score: name of the score.

    Returns:
        One value per design; None if a draw failed on it.
    """
    import pandas as pd

    draws = [design.scores.get(score) or (None,) for design in designs]
    if max(map(len, draws), default=1) == 1:
        return [each[0] for each in draws]
    table = pd.DataFrame(draws, dtype=float)
    ranks = table.dropna().rank().mean(axis=1).reindex(table.index)
    return [None if pd.isna(rank) else round(float(rank), 4) for rank in ranks]
