"""The content of a report, computed once for all formats."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import Objective, RunRecord, Trial
from bamsearch.records.run_files import as_recorded
from bamsearch.reporting.answer import Answer, answer
from bamsearch.reporting.charts.curves import Curves, curves
from bamsearch.reporting.comparison import Compared, comparison
from bamsearch.reporting.health import Health, health
from bamsearch.reporting.importance import Importance, importances
from bamsearch.reporting.provenance import provenance, reproduce
from bamsearch.reporting.sites import SiteRow, site_rows
from bamsearch.reporting.size_correlation import SizeCorrelation, size_correlation
from bamsearch.reporting.text import over_text
from bamsearch.reporting.training_effects import TrainingEffects, training_effects

CONVENTION = "1 MAC = 1 FLOP (fvcore), norm and pooling included"


@dataclass(frozen=True)
class Report:
    """The content of one run's report.

    Attributes:
        record: the run.
        place: its name or folder, as commands take it.
        state: state of an unfinished search in words; empty if it is finished.
        answer: answer to "does it help?".
        comparison: the baselines and the best design.
        sites: insertions of the best design; empty without one.
        front: designs that no other beats in all of ``axes``, the best score first.
        axes: objectives of the front; the first is the score.
        curves: best score so far.
        importances: factors that the score depends on; empty if that cannot be estimated.
        training_effects: effects and ranking from trainings; None if nothing was trained.
        sizes: correlations of the score with size.
        health: counts over the search.
        provenance: names to texts.
        reproduce: commands.
    """

    record: RunRecord
    place: str
    state: str
    answer: Answer
    comparison: tuple[Compared, ...]
    sites: tuple[SiteRow, ...]
    front: tuple[Trial, ...]
    axes: tuple[Objective, ...]
    curves: Curves
    importances: tuple[Importance, ...]
    training_effects: TrainingEffects | None
    sizes: SizeCorrelation
    health: Health
    provenance: dict[str, str]
    reproduce: tuple[str, ...]

    @property
    def trained(self) -> bool:
        """Whether the score is an accuracy expected from short trainings."""
        return self.record.run.score == "train"

    @property
    def over(self) -> str:
        """What the intervals of test accuracies cover; empty if not recorded."""
        evidence = self.record.shown_evidence
        return "" if evidence is None else over_text(evidence.over)


def make_report(record: RunRecord, name: str) -> Report:
    """The report of a run; the same record always gives the same report.

    Args:
        record: the run, finished or not.
        name: name or folder of the run.
    """
    record = as_recorded(record)
    run, best = record.run, record.best
    sizes = size_correlation(record)
    return Report(
        record,
        name,
        _state(record),
        answer(record, sizes, name),
        comparison(record),
        site_rows(run, best.design) if best is not None else (),
        tuple(record.pareto()),
        run.objectives if len(run.objectives) > 1 else ("score", "gflops"),
        curves(record),
        importances(record),
        training_effects(record),
        sizes,
        health(record),
        provenance(record),
        reproduce(record, name),
    )


def _state(record: RunRecord) -> str:
    if record.finished:
        return ""
    done = f"{len(record.trials):,} of {record.run.trials:,} trials"
    return f"Not finished: {done}. The search was interrupted or is still running."
