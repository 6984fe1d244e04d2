"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bamsearch.errors import InvalidValueError, NothingToDoError
from bamsearch.records import BaselineKind, RunRecord, Trial, check_choice
from bamsearch.reporting.content import make_report
from bamsearch.reporting.csv_tables import csv_text
from bamsearch.reporting.text import design_text, giga, mega, score_text, title

if TYPE_CHECKING:
    import pandas
    from torch import nn


class Picture(str):
    """An SVG as text, which notebooks display."""

    def _repr_svg_(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The result of a search; notebooks display it with its chart.

    Attributes:
        record: the run and all its trials.
        folder: folder of the run; None if it was not kept.
        module: the searched module, if no MODEL names it.
        estimated_seconds: estimated duration in one process; of a dry run only.
    """

    record: RunRecord
    folder: Path | None
    module: nn.Module | None = None
    estimated_seconds: float | None = None

    def __fspath__(self) -> str:
        if self.folder is None:
            raise InvalidValueError("the result has no folder: search again with output=DIR")
        return str(self.folder)

    def __repr__(self) -> str:
        run, best, base = self.record.run, self.best, self.baseline("base")
        ranked = [(name, trial) for name, trial in (("best", best), ("base", base)) if trial]
        return "\n".join(
            [
                f"SearchResult of {title(run)}",
                f"  {len(self.trials)} of {run.trials} trials, score {run.score}, "
                f"sampler {run.sampler}, seed {run.seed}",
                *(
                    f"  {name} {score_text(trial.score)}: {design_text(trial.design)[:80]}, "
                    f"{mega(trial.params)} parameters, {giga(trial.macs)} GFLOPs"
                    for name, trial in ranked
                ),
                f"  folder {self.folder}" if self.folder else "  not kept on disk",
            ]
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>{self.plot()}"

    def plot(self, chart: Literal["pareto", "curve"] = "pareto") -> Picture:
        """A chart of the report as SVG.

        Args:
            chart: ``pareto``, all designs by score and cost, or ``curve``, the best score so far.
        """
        check_choice("chart", chart, ("pareto", "curve"))
        from bamsearch.reporting.charts import run_charts
        from bamsearch.reporting.charts.look import standalone, svg

        charts = run_charts(make_report(self.record, self.record.run.name))
        return Picture(standalone(svg(charts[chart])))

    def to_dataframe(self) -> pandas.DataFrame:
        """All trials and baselines, one per row, with the columns of the report's trials.csv."""
        import pandas

        return pandas.read_csv(StringIO(csv_text([self.record])))

    def best_model(self) -> nn.Module:
        """The network of the best design: the searched module with BAM, or a newly built MODEL.

        A search stores no weights: those of a MODEL are random, as :func:`bamsearch.build` makes
        them; ``bamsearch train`` trains them.

        Raises:
            NothingToDoError: no trial has a score.
        """
        if self.best is None:
            raise NothingToDoError("no trial has a score yet, so there is no best design")
        from bamsearch.graph.designs import build
        from bamsearch.graph.insertion import insert_bam

        design = self.best.design
        return build(design) if self.module is None else insert_bam(self.module, design=design)

    @property
    def best(self) -> Trial | None:
        """The trial with the best score; None if every trial failed."""
        return self.record.best

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The search's own trials, in the order in which they finished."""
        return self.record.trials

    @property
    def pareto(self) -> list[Trial]:
        """The Pareto-optimal trials: in the objectives, or in score and multiply-adds."""
        return self.record.pareto()

    def baseline(self, kind: BaselineKind) -> Trial | None:
        """A baseline: base, paper, largest, or the best of random."""
        return self.record.baseline(kind)
