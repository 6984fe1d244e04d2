"""A search as stored on disk: its options and trials.

``run.json`` is a :class:`Run`; ``trials.jsonl`` has one line per finished trial, including those of
the baselines. Both are read without Optuna and without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypedDict

from bamsearch.errors import RunError
from bamsearch.records.arguments import BaselineKind, Objective
from bamsearch.records.audits import Cited
from bamsearch.records.data import DataFacts
from bamsearch.records.designs import Design
from bamsearch.records.evidence import Evidence
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import (
    Amount,
    AnyNatural,
    Mark,
    Milliseconds,
    Natural,
    Percent,
    Positive,
    Range,
)
from bamsearch.records.problems import Problem, RecipeTable
from bamsearch.records.training_analysis import TrainingAnalysis

BASE_SEEDS = 3
"""Trainings of the base in a search with score ``train``, to measure the noise."""

MEASURED = ("train", "supernet")
"""Scores that are accuracies, comparable between networks of any size; ``supernet`` is in runs of
0.1.0.dev alone (docs/decisions.md)."""

TrialState = Literal["complete", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A design that was scored.

    Attributes:
        number: Optuna's number; retried and withdrawn trials leave gaps.
        design: the design.
        score: higher is better; None if scoring failed or was stopped early.
        params: exact number of parameters.
        macs: exact multiply-adds for one input (fvcore's total).
        state: ``complete``, ``failed``, or ``stopped``: stopped early because it could not win.
        memory: bytes kept for backward in a training step, under a memory budget.
        ms: predicted milliseconds, under a time budget.
        reason: reason of the failure.
        seconds: duration of the scoring.
        retries: number of earlier interruptions.
        seed: seed of its training; None if the score does not train.
        curve: validation accuracy in percent after each epoch of its training.
        expected: predicted score at the last epoch, if stopped early.
    """

    number: Natural
    design: Design
    score: float | None
    params: Amount
    macs: Amount
    state: TrialState = "complete"
    memory: Amount | None = None
    ms: float | None = None
    reason: str | None = None
    seconds: float | None = None
    retries: Natural = 0
    seed: int | None = None
    curve: tuple[Percent, ...] = ()
    expected: float | None = None

    def cost(self, objective: Objective) -> float:
        """The objective's value for this design: its score or a cost."""
        values = {"score": self.score, "gflops": self.macs, "params": self.params, "ms": self.ms}
        value = values[objective]
        return float("nan") if value is None else value


@dataclass(frozen=True, slots=True)
class Finalist:
    """A design of the ranking, timed against the base.

    Attributes:
        design: the design.
        ms: milliseconds of the base times the paired ratio.
        low, high: 95% interval of ms; the design meets a time budget if ``high`` does.
        kept: whether it meets the budget, and so stays in the ranking.
        base_ms: milliseconds of the base in that pair; None if an older bamsearch timed it.
    """

    design: Design
    ms: Milliseconds
    low: Milliseconds
    high: Milliseconds
    kept: bool
    base_ms: Milliseconds | None = None


class LatencyFacts(TypedDict):
    """Conditions and error of predicted times, see :mod:`bamsearch.space.measured_costs`."""

    device: str
    batch_size: Positive
    dtype: str
    mode: str
    threads: Positive | None
    samples: Positive
    base_ms: Milliseconds
    worst_error: float


@dataclass(frozen=True, slots=True)
class Run(Problem, Stored):
    """Options of a search, and everything needed to resume it.

    Attributes:
        score: name of the score, or location of a custom one.
        objectives: objectives; the first one ranks.
        sampler: name of the sampler.
        seed: random seed.
        trials: total number of trials.
        designs: number of designs in the space.
        feasible_designs: number of feasible designs.
        exact: whether that number was counted rather than estimated.
        compare_random: whether a random search of the same length is a baseline.
        device: device on which designs are scored.
        threads: torch threads on a CPU.
        storage: database URL without its password; None: ``study.db`` in the run's folder.
        heartbeat: heartbeat interval in seconds, with several workers.
        added: (decision, option label) to (bytes, nanoseconds), if budgets need them.
        latency: conditions and error of the times in ``added``: device, batch, dtype, mode, base.
        command: command line.
        versions: versions of bamsearch, Python, torch, torchvision, Optuna.
        git_commit: commit of the working folder, if it is a repository.
        created: date and time, UTC.
        data: data set that determined input size and classes, if any.
        recipe: training recipe of score ``train``; None for other scores.
        supernet: options of the former score ``supernet``; None for other scores.
        audit: result of an audit for the score and network, if any.
        until: expected regret, in points of accuracy, at which a search that trains stops early;
            None: run all trials.
        sources: ``model``, and ``score`` if it is a function, to their source, see
            :func:`bamsearch.records.sources.source_of`; empty in runs of older versions.
        started_in: folder to which the files of model, score and data are relative in ``run.json``;
            there it is relative to the run's folder. None is the current folder. When a run is
            read, the files become relative to the current folder.
    """

    score: str
    objectives: Annotated[tuple[Objective, ...], Range(1)]
    sampler: str
    seed: int
    trials: Positive
    designs: AnyNatural
    feasible_designs: AnyNatural
    exact: bool = True
    compare_random: bool = True
    device: str = "cpu"
    threads: Positive = 1
    storage: str | None = None
    heartbeat: Positive = 20
    added: Mapping[tuple[str, str], tuple[Amount, Amount]] = field(default_factory=dict)
    latency: Annotated[Mapping[str, Any], LatencyFacts] | None = None
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    created: str = ""
    data: DataFacts | None = None
    recipe: Annotated[Mapping[str, Any], RecipeTable] | None = None
    supernet: Mapping[str, Any] | None = None
    audit: Cited | None = None
    until: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    started_in: Annotated[str | None, Mark.SPARSE] = None

    @property
    def trained(self) -> bool:
        """Whether a score comes from one training, and so depends on its seed."""
        return self.score == "train"

    @property
    def repeats(self) -> bool:
        """Whether designs are trained again with other seeds."""
        return self.trained and self.sampler == "gp"

    @property
    def scores(self) -> int:
        """Total number of scores: trials, base, paper default, largest and random search."""
        base = BASE_SEEDS if self.trained else 1
        return self.trials + base + 2 + (self.trials if self.compare_random else 0)


Run.FORMAT = Format(Run, "run", RunError, "search again", key="bamsearch_run", file="run.json")


@dataclass(frozen=True)
class RunRecord:
    """A run with its results so far.

    Attributes:
        run: options of the run.
        trials: trials of the search, in the order in which they finished.
        baselines: (kind, trial) of the baselines; ``random`` ones are the trials of random search.
        finalists: designs timed under a time budget.
        evidence: evidence of ``verify``, if any.
        analysis: analysis of the trainings with score ``train``, if any.
    """

    run: Run
    trials: tuple[Trial, ...] = ()
    baselines: tuple[tuple[BaselineKind, Trial], ...] = ()
    finalists: tuple[Finalist, ...] = ()
    evidence: Evidence | None = None
    analysis: TrainingAnalysis | None = None

    @property
    def finished(self) -> bool:
        """Whether all trials or all designs are done, or the expected regret is below ``until``."""
        regret = None if self.analysis is None else self.analysis.regret
        if self.run.until is not None and regret is not None and regret < self.run.until:
            return True
        most = self.run.trials if self.run.repeats else self.run.feasible_designs - 1
        return len(self.trials) >= min(self.run.trials, most)

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials with a score."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def base_may_win(self) -> bool:
        """Whether the base's score is comparable; zero-cost scores grow with the network.

        A custom score, named ``package.module:function``, is assumed to be comparable.
        """
        return ":" in self.run.score or self.run.score in MEASURED

    def baseline(self, kind: BaselineKind) -> Trial | None:
        """The best scored baseline of a kind; None if there is none yet."""
        trials = self.designs([trial for role, trial in self.baselines if role == kind])
        return max(trials, key=lambda trial: trial.score or 0.0, default=None)

    def designs(self, trials: Sequence[Trial]) -> list[Trial]:
        """The scored trials; with score ``train`` one per design, with its expected accuracy.

        Args:
            trials: trials or baselines of this run.
        """
        scored = [trial for trial in trials if trial.score is not None]
        if not self.run.trained:
            return scored
        by_design: dict[Design, list[Trial]] = {}
        for trial in scored:
            by_design.setdefault(trial.design, []).append(trial)
        return [replace(t[0], score=self._expected(d, t)) for d, t in by_design.items()]

    def _expected(self, design: Design, trials: Sequence[Trial]) -> float:
        estimate = None if self.analysis is None else self.analysis.of(design.insertions)
        if estimate is not None:
            return estimate.mean
        return sum(trial.score or 0.0 for trial in trials) / len(trials)

    def ranking(self) -> list[Trial]:
        """Trials by score, the best first; ties are broken by fewer multiply-adds.

        With score ``train`` there is one per design, with its expected accuracy. Designs measured
        to be over a time budget are left out.
        """
        ranked = self.designs(self.complete)
        base = self.baseline("base")
        if base is not None and self.base_may_win:
            ranked.append(base)
        slow = {finalist.design for finalist in self.finalists if not finalist.kept}
        ranked = [trial for trial in ranked if trial.design not in slow]
        return sorted(ranked, key=lambda t: (-(t.score or 0.0), t.macs, t.params, t.number))

    @property
    def best(self) -> Trial | None:
        """The first of the ranking; None if nothing has a score."""
        return next(iter(self.ranking()), None)

    @property
    def search_seeds(self) -> frozenset[int]:
        """Seeds that the search used for training or scoring."""
        trials = [*self.trials, *(trial for _, trial in self.baselines)]
        return frozenset({self.run.seed, *(self.run.seed + (t.seed or 0) for t in trials)})

    @property
    def shares_seeds(self) -> bool:
        """Whether the evidence used seeds of the search.

        The best design is then partly the luckiest with these seeds. Evidence without a list of
        seeds is from a bamsearch that started at seed 0, as searches do.
        """
        if self.evidence is None or self.run.score not in MEASURED:
            return False
        seeds = self.evidence.seeds
        return not seeds or not self.search_seeds.isdisjoint(seeds)

    @property
    def shown_evidence(self) -> Evidence | None:
        """The evidence; None if the best design is no longer the trained one."""
        best, evidence = self.best, self.evidence
        if best is None or evidence is None or not evidence.is_of("found", best.design.insertions):
            return None
        return evidence

    def pareto(self) -> list[Trial]:
        """The trials that no other trial dominates.

        With one objective: score against multiply-adds.
        """
        objectives = self.run.objectives if len(self.run.objectives) > 1 else ("score", "gflops")
        front: list[Trial] = []
        for trial in self.ranking():
            mine = _minimised(trial, objectives)
            if not any(_dominates(_minimised(other, objectives), mine) for other in front):
                front = [t for t in front if not _dominates(mine, _minimised(t, objectives))]
                front.append(trial)
        return front


def _minimised(trial: Trial, objectives: Sequence[Objective]) -> tuple[float, ...]:
    values = (trial.cost(objective) for objective in objectives)
    return tuple(-v if o == "score" else v for o, v in zip(objectives, values, strict=True))


def _dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether the first is at least as good in all objectives; of equals the first is kept."""
    return all(a <= b for a, b in zip(first, second, strict=True))
