"""The tables of runs as texts, for all formats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bamsearch.records import Accuracy, AccuracyEstimate, Effect, Objective, Trial
from bamsearch.reporting import text
from bamsearch.reporting.comparison import Compared, Differences, Latency, differences
from bamsearch.reporting.content import CONVENTION, Report, SiteRow
from bamsearch.reporting.run_statistics import Importance, curve_sentence
from bamsearch.reporting.training_effects import Ranked, chance_text, effect_text
from bamsearch.text import number_text, printable, share_text, table_cell

AXES: dict[Objective, str] = {
    "score": "score",
    "gflops": "GFLOPs",
    "params": "parameters",
    "ms": "milliseconds",
}

TOP = 10
"""Designs of the ranking that are shown, in addition to those with a role."""

EFFECTS = 20
"""Number of effects that are shown; the largest ones."""

_LEAST_SHARE = 0.005
"""Smaller shares would be shown as 0.00."""

Row = TypeVar("Row")
Column = tuple[str, str, Callable[[Row], str]]
"""Title, alignment (``l`` or ``r``) and the text of a row's cell."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts that :func:`bamsearch.text.table_cell` makes safe to show.

    Attributes:
        header: titles of the columns.
        align: one letter per column, ``l`` or ``r``.
        rows: rows of cells.
    """

    header: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "header", tuple(map(table_cell, self.header)))
        object.__setattr__(self, "rows", tuple(tuple(map(table_cell, row)) for row in self.rows))

    @classmethod
    def of(cls, rows: Iterable[Row], columns: Sequence[Column[Row]]) -> Table:
        """One row per item, one cell per column."""
        titles, aligns, cells = zip(*columns, strict=True)
        return cls(
            titles, "".join(aligns), tuple(tuple(cell(row) for cell in cells) for row in rows)
        )

    def shortened(self, most: int) -> Table:
        """The first rows, and a last row with the number of the others."""
        more = len(self.rows) - most
        if more <= 0:
            return self
        last = (f"and {more:,} more", *[""] * (len(self.header) - 1))
        return Table(self.header, self.align, (*self.rows[:most], last))


def run_content(report: Report) -> dict[str, Any]:
    """What the templates of a run's report show, besides the report itself."""
    return {
        "report": report,
        "run": report.record.run,
        "convention": CONVENTION,
        "curve_text": curve_sentence(report.curves),
        "axes": axis_names(report),
        "sites": sites_table(report.sites),
        "importances": importance_table(report),
        "effects": effects_table(report).shortened(EFFECTS),
        "effects_legend": effects_legend(report),
        "ranking": ranking_table(report),
        "ranking_legend": _ranking_legend(report),
        "sizes": sizes_table(report),
        "health": health_table(report),
        "provenance": Table(("", ""), "ll", tuple(report.provenance.items())),
    }


def comparison_table(report: Report) -> Table:
    """The baselines and the best design, with differences to the base."""
    base = report.comparison[0]
    over = f", over {report.over}" if report.over else ""
    columns: list[Column[Compared]] = [
        ("", "l", lambda row: row.label),
        ("design", "l", lambda row: text.optional(text.design_text, row.design)),
        ("params", "r", lambda row: text.optional(text.mega, row.params)),
        ("", "r", lambda row: _changes(row, base).params),
        ("GFLOPs", "r", lambda row: text.optional(text.giga, row.macs)),
        ("", "r", lambda row: _changes(row, base).gflops),
        ("latency, paired ratio", "r", lambda row: latency_text(row.latency)),
        (score_name(report), "r", compared_score),
    ]
    if any(row.accuracy is not None for row in report.comparison):
        columns += [
            (f"accuracy{over}", "r", lambda row: accuracy_text(row.accuracy)),
            (f"best design minus this{over}", "r", _difference),
        ]
    return Table.of(report.comparison, columns)


def _changes(row: Compared, base: Compared) -> Differences:
    """Differences to the base; dashes without a design."""
    return Differences("–", "–") if row.design is None else differences(row, base)


def _difference(row: Compared) -> str:
    difference = row.difference
    if difference is None:
        return ""
    return text.estimate_text(difference.points, difference.low, difference.high, "+.2f")


def several_table(reports: Sequence[Report]) -> Table:
    """One row per run: its settings and its best design."""
    columns: list[Column[Report]] = [
        ("run", "l", lambda report: report.place),
        ("model", "l", lambda report: " ".join(_model(report))),
        ("space", "l", lambda report: str(report.record.run.space.get("name", ""))),
        ("budget", "l", lambda report: text.budgets_text(report.record.run)),
        ("sampler", "l", lambda report: report.record.run.sampler),
        ("trials", "r", _trials),
        ("score", "l", lambda report: report.record.run.score),
        ("best", "r", lambda report: text.optional(text.score_text, report.best.score, "none yet")),
        ("best random", "r", _random),
        ("params", "r", lambda report: text.optional(text.mega, report.best.params)),
        ("", "r", lambda report: _changes(report.best, report.comparison[0]).params),
        ("GFLOPs", "r", lambda report: text.optional(text.giga, report.best.macs)),
        ("", "r", lambda report: _changes(report.best, report.comparison[0]).gflops),
    ]
    if any(report.record.finalists for report in reports):
        columns.append(("latency", "r", lambda report: latency_text(report.best.latency)))
    if any(report.record.shown_evidence is not None for report in reports):
        columns += [("accuracy", "r", _accuracy), ("does it help?", "l", _verdict)]
    # The longest column last.
    columns.append(
        ("design", "l", lambda report: text.optional(text.design_text, report.best.design))
    )
    return Table.of(reports, columns)


def _model(report: Report) -> tuple[str, str]:
    run = report.record.run
    return run.model, text.shape_text(run.summary.input_shape)


def _trials(report: Report) -> str:
    return f"{len(report.record.trials):,} of {report.record.run.trials:,}"


def _random(report: Report) -> str:
    random = report.record.baseline("random")
    return "–" if random is None else text.score_text(random.score)


def _accuracy(report: Report) -> str:
    """The accuracy, and what its interval covers, which may differ between runs."""
    over = f" over {report.over}" if report.over and report.best.accuracy is not None else ""
    return accuracy_text(report.best.accuracy) + over


def _verdict(report: Report) -> str:
    evidence = report.record.shown_evidence
    exploratory = evidence is not None and evidence.exploratory
    return f"{report.answer.verdict}, exploratory" if exploratory else report.answer.verdict


def several_notes(reports: Sequence[Report]) -> list[str]:
    """Notes on which scores can be compared."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for report in reports:
        run = report.record.run
        key = (*_model(report), run.score, run.variant, run.init, run.num_classes)
        groups[key].append(report.place)
    notes = [f"GFLOPs: {CONVENTION}. Differences are relative to each run's base."]
    if len(groups) == 1:
        return ["All runs have the same model, input and score: scores are comparable.", *notes]
    together = [
        f"{', '.join(names)} ({key[0]} {key[1]}, {key[2]})"
        for key, names in groups.items()
        if len(names) > 1
    ]
    within = f" Within {'; within '.join(together)} they are." if together else ""
    return [f"Scores are not comparable across models, inputs or scores.{within}", *notes]


def sites_table(rows: Sequence[SiteRow]) -> Table:
    """BAMs of a design, or all BAMs of a run."""
    columns: list[Column[SiteRow]] = [
        ("site", "l", lambda row: row.site.name),
        ("C×H×W", "r", lambda row: text.map_text(row.site)),
        ("stride", "r", lambda row: str(row.site.stride)),
        ("kind", "l", lambda row: row.site.kind),
        ("before", "l", lambda row: row.site.reducer or ""),
        ("r", "r", lambda row: str(row.insertion.reduction)),
        ("d", "r", _dilation),
        ("+ params", "r", lambda row: f"{row.params:,}"),
        ("+ MACs", "r", lambda row: f"{row.macs:,}"),
    ]
    if any(row.ms is not None for row in rows):
        columns.append(("+ ms, predicted", "r", lambda row: text.optional("{:.3f}".format, row.ms)))
    return Table.of(rows, columns)


def _dilation(row: SiteRow) -> str:
    same = "" if row.same_as is None else f" (same as {row.same_as})"
    return f"{row.insertion.dilation}{same}"


def front_table(report: Report) -> Table:
    """The Pareto front."""
    columns: list[Column[Trial]] = [
        ("design", "l", lambda trial: text.design_text(trial.design)),
        (score_name(report), "r", lambda trial: text.score_text(trial.score)),
        ("GFLOPs", "r", lambda trial: text.giga(trial.macs)),
        ("params", "r", lambda trial: text.mega(trial.params)),
    ]
    if "ms" in report.axes:
        columns.append(("ms", "r", lambda trial: text.optional("{:.3f}".format, trial.ms)))
    return Table.of(report.front, columns)


def score_name(report: Report) -> str:
    """``score``, or ``expected accuracy, %`` if designs are trained."""
    return text.EXPECTED if report.trained else "score"


def axis_names(report: Report) -> list[str]:
    """The objectives of the front, in words."""
    score = "expected accuracy" if report.trained else "score"
    return [score if axis == "score" else AXES[axis] for axis in report.axes]


def importance_table(report: Report) -> Table:
    """Importances of the factors; those that explain nothing are left out."""
    columns: list[Column[Importance]] = [
        ("site", "l", lambda factor: ", ".join(map(printable, factor.sites))),
        ("factor", "l", lambda factor: factor.aspect),
        ("share of variance", "r", lambda factor: f"{factor.share:.2f}"),
        ("best mean at", "r", lambda factor: factor.best),
        ("designs", "r", lambda factor: f"{factor.designs:,}"),
    ]
    explaining = [factor for factor in report.importances if factor.share >= _LEAST_SHARE]
    return Table.of(explaining, columns)


def effects_table(report: Report) -> Table:
    """Effects on accuracy, the largest first; empty if nothing was trained."""
    columns: list[Column[Effect]] = [
        ("factor", "l", effect_text),
        ("points", "r", lambda effect: f"{effect.points:+.2f}"),
        (
            _confidence(report),
            "r",
            lambda effect: text.interval_text(effect.low, effect.high, "+.2f"),
        ),
        ("", "l", lambda effect: "" if effect.distinguished else "not distinguishable from 0"),
        ("designs", "r", lambda effect: f"{effect.designs:,}"),
    ]
    effects = report.training_effects
    return Table.of(() if effects is None else effects.effects, columns)


def ranking_table(report: Report) -> Table:
    """Expected accuracy of the best designs and of those with a role; empty without trainings."""
    columns: list[Column[Ranked]] = [
        ("rank", "l", lambda ranked: ranked.label),
        ("design", "l", lambda ranked: text.design_text(ranked.design)),
        (text.EXPECTED, "r", lambda ranked: estimate_cells(ranked.estimate)[0]),
        (_confidence(report), "r", lambda ranked: estimate_cells(ranked.estimate)[1]),
        ("trainings", "r", lambda ranked: estimate_cells(ranked.estimate)[2]),
        ("chance to be best", "r", lambda ranked: estimate_cells(ranked.estimate)[3]),
    ]
    effects = report.training_effects
    return Table.of(() if effects is None else effects.top(TOP), columns)


def _confidence(report: Report) -> str:
    effects = report.training_effects
    return "" if effects is None else f"{effects.analysis.confidence:.0%}"


def estimate_cells(estimate: AccuracyEstimate | None) -> tuple[str, str, str, str]:
    """Expected accuracy, its interval, trainings, chance to be best; dashes without an estimate."""
    if estimate is None:
        return ("–",) * 4
    interval = text.interval_text(estimate.low, estimate.high)
    return f"{estimate.mean:.2f}", interval, f"{estimate.trainings:,}", chance_text(estimate.chance)


def effects_legend(report: Report) -> str:
    """Legend of the effects, or the reason why there are none."""
    if report.training_effects is None or not report.training_effects.effects:
        return "Too few designs were trained to estimate the effects of sites, r and d."
    return (
        "Site: BAM at the site, with r and d at their means, against no BAM. r, d: each doubling, "
        "at all sites with BAM. Intervals cover seeds, on these validation images; they are "
        f"{_confidence(report)} each, not simultaneous."
    )


def _ranking_legend(report: Report) -> str:
    number = len(report.training_effects.ranking) if report.training_effects else 0
    return (
        f"{text.count_text(number, 'design')} trained. Expected accuracy of a short training on "
        "these validation images, given all trainings, and the chance that no other trained design "
        "is better."
    )


def sizes_table(report: Report) -> Table:
    """Correlations of the score with size."""
    columns: list[Column[tuple[str, float | None]]] = [
        ("size", "l", lambda size: size[0]),
        (
            "Spearman's rho with the score",
            "r",
            lambda size: text.optional("{:+.2f}".format, size[1], "does not vary"),
        ),
    ]
    return Table.of(report.sizes.named.items(), columns)


def health_table(report: Report) -> Table:
    """Counts over the search."""
    health = report.health
    about = "exact" if health.exact else "estimate"
    share = share_text(health.feasible, health.designs)
    feasible = f"{number_text(health.feasible)} of {number_text(health.designs)}, {share}"
    rows = [
        ("feasible designs", f"{feasible} ({about})"),
        ("scored", f"{health.scored:,} of {health.wanted:,}"),
        ("over budget", f"{health.over_budget:,}"),
        ("failed", f"{health.failed:,}"),
        *[("stopped early because they could not win", f"{health.stopped:,}")] * report.trained,
        ("retried after an interruption", f"{health.retried:,}"),
        ("duplicates withdrawn", f"{health.withdrawn:,}"),
    ]
    if report.record.finalists:
        rows.append(("measured over the time budget", f"{health.slow:,}"))
    if health.seconds is not None:
        fast = f"{health.seconds:.2g} s"
        took = text.duration_text(health.seconds) if health.seconds >= 10 else fast
        rows.append(("median time per score", took))
    for reason, number in health.reasons:
        rows.append((f"reason: {reason}", text.count_text(number, "time")))
    return Table(("", ""), "lr", tuple(rows))


def latency_text(latency: Latency | None) -> str:
    """``1.023 [1.011, 1.034]``."""
    if latency is None:
        return "not measured"
    if latency.low == latency.high:
        return f"{latency.ratio:.3f}"
    return text.estimate_text(latency.ratio, latency.low, latency.high, ".3f")


def accuracy_text(accuracy: Accuracy | None) -> str:
    """``93.41% [93.10, 93.72]``."""
    if accuracy is None:
        return "not trained"
    return f"{accuracy.mean:.2f}% {text.interval_text(accuracy.low, accuracy.high)}"


def compared_score(row: Compared) -> str:
    """The score, with its interval if it is an expected accuracy; without a score, the reason."""
    if row.score is None:
        return row.note
    if row.expected is not None:
        return text.estimate_text(row.score, row.expected.low, row.expected.high)
    return text.score_text(row.score)
