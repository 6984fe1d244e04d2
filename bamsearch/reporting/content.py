"""The content of a run's report, computed once for all formats."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from bamsearch.attention.cost import effective_dilation
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import (
    MEASURED,
    Audit,
    DataFacts,
    Insertion,
    Objective,
    Run,
    RunRecord,
    Site,
    Trial,
)
from bamsearch.records.run_files import as_recorded
from bamsearch.reporting import run_statistics as stats
from bamsearch.reporting.answer import Answer, answer
from bamsearch.reporting.comparison import Compared, comparison
from bamsearch.reporting.text import budgets_text, conditions_text, over_text, shape_text
from bamsearch.reporting.training_effects import TrainingEffects, training_effects
from bamsearch.score.table import DEFAULT_SCORE, SCORES

CONVENTION = "1 MAC = 1 FLOP (fvcore), norm and pooling included"


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One BAM of a design.

    Attributes:
        site: its site.
        insertion: its r and d.
        params: added parameters.
        macs: added multiply-adds for one input, fvcore's.
        ms: added milliseconds, predicted by the run's latency table plus its worst error; None
            without a table, or if sites are chosen together.
        same_as: the smaller d that computes the same, if any: all outer taps of the convolution
            fall in the padding.
    """

    site: Site
    insertion: Insertion
    params: int
    macs: int
    ms: float | None = None
    same_as: int | None = None


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
    curves: stats.Curves
    importances: tuple[stats.Importance, ...]
    training_effects: TrainingEffects | None
    sizes: stats.SizeCorrelation
    health: stats.Health
    provenance: dict[str, str]
    reproduce: tuple[str, ...]

    @property
    def best(self) -> Compared:
        """The best design's row of the comparison."""
        return self.comparison[-1]

    @property
    def trained(self) -> bool:
        """Whether the score is an accuracy expected from short trainings."""
        return self.record.run.trained

    @property
    def cost(self) -> Objective:
        """The first objective of the front that is not the score."""
        return next(axis for axis in self.axes if axis != "score")

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
    sizes = stats.size_correlation(record)
    command = run.command
    if run.data is None and run.score != DEFAULT_SCORE and "--score" not in command:
        # The default score was different when the command was typed.
        command += f" --score {run.score}"
    return Report(
        record,
        name,
        _state(record),
        answer(record, sizes, name),
        comparison(record),
        site_rows(run, best.design.insertions) if best is not None else (),
        tuple(record.pareto()),
        run.objectives if len(run.objectives) > 1 else ("score", "gflops"),
        stats.curves(record),
        stats.importances(record),
        training_effects(record),
        sizes,
        stats.health(record),
        _provenance(record),
        reproduce("search", command, name),
    )


def _state(record: RunRecord) -> str:
    if record.finished:
        return ""
    done = f"{len(record.trials):,} of {record.run.trials:,} trials"
    return f"Not finished: {done}. The search was interrupted or is still running."


def site_rows(run: Run, insertions: Iterable[Insertion]) -> tuple[SiteRow, ...]:
    """BAMs at sites of the run, in network order; several at a site stay in their order."""
    costs = DesignCosts(run.summary, variant=run.variant, init=run.init)
    sites = run.summary.sites
    order = {site.name: number for number, site in enumerate(sites)}
    placed = [insertion for insertion in insertions if insertion.site in order]
    placed.sort(key=lambda insertion: order[insertion.site])
    return tuple(_site_row(run, costs, sites[order[each.site]], each) for each in placed)


def _site_row(run: Run, costs: DesignCosts, site: Site, insertion: Insertion) -> SiteRow:
    added = costs.added(site.name, insertion.reduction)
    label = f"r{insertion.reduction} d{insertion.dilation}"
    _, ns = run.added.get((site.name, label), (0, 0))
    same = effective_dilation(site, insertion.dilation)
    return SiteRow(
        site,
        insertion,
        added.params,
        added.macs,
        ns / 1e6 if run.latency is not None and ns else None,
        same if same != insertion.dilation else None,
    )


def _provenance(record: RunRecord) -> dict[str, str]:
    """Command, model, data, device and versions of a run: names to texts."""
    run = record.run
    paper = f" ({SCORES[run.score].paper})" if run.score in SCORES else ""
    if run.score in MEASURED:
        weights = "after a short training" if run.trained else "with the weights of one supernet"
        paper = f" (accuracy in percent on the validation images, {weights})"
    data = "none: nothing was trained" if run.data is None else data_text(run.data)
    if record.shown_evidence is not None:
        data = f"{record.shown_evidence.data}, hash {record.shown_evidence.data_hash}"
    return {
        "command": run.command or "bamsearch.search(...) from Python",
        **problem_facts(run),
        "budget": budgets_text(run),
        "score": f"{run.score}{paper}",
        "sampler": f"{run.sampler}, {run.trials} trials",
        "seed": str(run.seed),
        "device": device_text(run),
        **({} if run.latency is None else {"timed on": conditions_text(run)}),
        "data": data,
        "versions": versions_text(run),
        **({} if run.git_commit is None else {"git commit": run.git_commit}),
    }


def problem_facts(problem: Run | Audit) -> dict[str, str]:
    """Date, model, BAM and space of a search or an audit: names to texts."""
    stem = " with the stem" if problem.with_stem else ""
    return {
        "started": problem.created,
        "model": f"{problem.model}, input {shape_text(problem.summary.input_shape)}",
        "BAM": f"variant {problem.variant}, init {problem.init}",
        "space": f"{problem.space.get('name', '')}{stem}",
    }


def data_text(data: DataFacts) -> str:
    """Name, size and hash of a data set."""
    sizes = f"{data.train:,} to train on, {data.validation:,} to validate on"
    return f"{data.name}, {sizes}, hash {data.hash}"


def device_text(problem: Run | Audit) -> str:
    """The device, with the number of torch threads on a CPU unless it is 1."""
    threads = problem.device == "cpu" and problem.threads != 1
    return f"{problem.device}, {problem.threads} torch threads" if threads else problem.device


def versions_text(problem: Run | Audit) -> str:
    """``bamsearch 0.1.0, torch 2.14.1``."""
    return ", ".join(f"{name} {number}" for name, number in problem.versions.items())


def reproduce(kind: str, command: str, name: str) -> tuple[str, ...]:
    """Commands that reproduce a run or an audit, and its report.

    Args:
        kind: ``search`` or ``audit``.
        command: the command line; left out if it was called from Python.
        name: name or folder of the run or audit.
    """
    lines = (command,) if command.startswith(f"bamsearch {kind}") else ()
    return (*lines, f"bamsearch report {shlex.quote(name)}")
