"""A search as it lies on disk: what was asked for, and every trial.

``run.json`` is a :class:`Run`; ``trials.jsonl`` has a line for each finished trial, also those that
the search is compared with. Both are read without Optuna and without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from bamsearch.errors import RunError
from bamsearch.records.audits import Cited
from bamsearch.records.budgets import Budget
from bamsearch.records.choices import Init, Objective, ReferenceKind, Variant
from bamsearch.records.codec import Format
from bamsearch.records.costs import ModelSummary
from bamsearch.records.data import DataFacts
from bamsearch.records.designs import Design, Insertion
from bamsearch.records.evidence import Evidence
from bamsearch.records.hints import (
    Amount,
    AnyNatural,
    Milliseconds,
    Natural,
    Percent,
    Positive,
    Range,
    Table,
)
from bamsearch.records.learned import Learned
from bamsearch.records.tables import LatencyFacts, RecipeTable, SpaceTable

RUN_VERSION = 1
"""Format of ``run.json``; raised only when an older bamsearch could misread a newer run."""

BASE_SEEDS = 3
"""Trainings of the base in a search with score ``train``: they say how much noise there is."""

MEASURED = ("train", "supernet")
"""Scores that are accuracies, comparable between networks of any size; ``supernet`` is in runs of
0.1.0.dev alone (docs/decisions.md)."""

TrialState = Literal["complete", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A design that was scored.

    Attributes:
        number: Optuna's; failed and retried ones leave gaps.
        design: what was scored.
        score: higher is better; None where scoring failed, or was stopped early.
        params: of the network, exactly.
        macs: multiply-adds for one input, exactly (fvcore's total).
        state: ``complete``, ``failed``, or ``stopped``: trained for some epochs only, as it could
            not win.
        memory: bytes that a training step keeps, where memory was limited.
        ms: predicted milliseconds, where the time was limited.
        reason: why it failed.
        seconds: that the scoring took.
        retries: how often it was interrupted before.
        seed: of its training; None where the score is none.
        curve: validation accuracy after each epoch of its training, in per cent.
        expected: of one stopped early: the score that its last epoch would have had.
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
        """The objective's value for this design: its score, or what it takes."""
        values = {"score": self.score, "gflops": self.macs, "params": self.params, "ms": self.ms}
        value = values[objective]
        return float("nan") if value is None else value


@dataclass(frozen=True, slots=True)
class Finalist:
    """A design of the ranking, timed against the base.

    Attributes:
        design: what was timed.
        ms: milliseconds of the base, times the paired ratio.
        low: lower end of its 95 % interval.
        high: upper end; the design keeps a budget of time if this does.
        kept: whether it does, and so stays in the ranking.
        base_ms: the base's milliseconds in that pair; None where an older bamsearch timed it.
    """

    design: Design
    ms: Milliseconds
    low: Milliseconds
    high: Milliseconds
    kept: bool
    base_ms: Milliseconds | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What a search was asked for, and all that is needed to go on with it.

    Attributes:
        name: of the run, and of its Optuna study.
        summary: of the model.
        variant: which BAM.
        init: how it starts.
        num_classes: of the model's head.
        space: the space's file, parsed.
        with_stem: whether the stem is in it too.
        budgets: what every scored design keeps.
        score: its name, or where a score of the user's own is.
        objectives: what is searched for; the first ranks.
        sampler: which one proposes.
        seed: of everything random.
        trials: how many in all.
        designs: how many there are in the space.
        feasible_designs: how many fit.
        exact: whether that was counted, else estimated.
        compare_random: whether a random search of the same length is a reference.
        device: where designs are scored.
        threads: torch's, on a CPU.
        storage: the database, without its password; None for ``study.db`` in the run's folder.
        heartbeat: seconds between a worker's signs of life, where there are several.
        added: (choice's name, option's label) to (bytes, nanoseconds), where budgets need them.
        latency: what the times in ``added`` are worth: device, batch, dtype, mode, base and error.
        command: what was typed.
        versions: of bamsearch, Python, torch, torchvision, Optuna.
        git_commit: of the folder that the search was started in, if it is a repository.
        created: date and time, UTC.
        data: what set the input size and the classes; None where no data set did.
        recipe: training recipe of score ``train``; None for others.
        supernet: options of the former score ``supernet``; None for other scores.
        audit: what an audit of the network says of the score; None where there was none.
        until: expected regret, in points of accuracy, at which a search that trains stops before
            its last trial; None lets it finish them all.
        sources: ``model``, and ``score`` where it is a function, to their source, see
            :func:`bamsearch.records.sources.source_of`; empty in runs of older versions.
    """

    name: str
    summary: ModelSummary
    variant: Variant
    init: Init
    num_classes: Positive | None
    space: Annotated[Mapping[str, Any], Table(SpaceTable)]
    with_stem: bool
    budgets: tuple[Budget, ...]
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
    latency: Annotated[Mapping[str, Any], Table(LatencyFacts)] | None = None
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    created: str = ""
    data: DataFacts | None = None
    recipe: Annotated[Mapping[str, Any], Table(RecipeTable)] | None = None
    supernet: Mapping[str, Any] | None = None
    audit: Cited | None = None
    until: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether a score is that of one training, and differs from seed to seed."""
        return self.score == "train"

    @property
    def repeats(self) -> bool:
        """Whether designs are trained again with other seeds."""
        return self.trained and self.sampler == "gp"

    @property
    def model(self) -> str:
        """The MODEL."""
        return self.summary.model

    @property
    def scores(self) -> int:
        """How many scores there are in all: of trials, base, paper, largest and random search."""
        base = BASE_SEEDS if self.trained else 1
        return self.trials + base + 2 + (self.trials if self.compare_random else 0)

    def design(self, insertions: Sequence[Insertion]) -> Design:
        """Insertions as a design of this run."""
        return Design(
            self.model,
            self.summary.input_shape,
            tuple(insertions),
            self.variant,
            self.init,
            self.num_classes,
            how=self.summary.how,
        )

    def to_json(self) -> str:
        """The run as indented JSON text, the content of ``run.json``."""
        return RUN.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "run.json") -> Run:
        """Read what :meth:`to_json` wrote.

        Raises:
            RunError: not JSON, a key or value that does not fit, or made by a newer bamsearch.
        """
        return RUN.parse(text, source)


RUN: Format[Run] = Format(
    Run, "run", RunError, "search again", key="bamsearch_run", version=RUN_VERSION
)
"""The format of ``run.json``."""


@dataclass(frozen=True)
class RunRecord:
    """A run with what has been scored so far.

    Attributes:
        run: what was asked for.
        trials: the search's own, in the order in which they finished.
        references: (what it is, trial), for what the search is compared with; ``random`` ones are
            those of the random search.
        finalists: designs timed under a budget of time.
        evidence: what training has shown of the designs; None where nothing was trained.
        learned: with score ``train``, what its trainings say together; None before there are any.
    """

    run: Run
    trials: tuple[Trial, ...] = ()
    references: tuple[tuple[ReferenceKind, Trial], ...] = ()
    finalists: tuple[Finalist, ...] = ()
    evidence: Evidence | None = None
    learned: Learned | None = None

    @property
    def finished(self) -> bool:
        """Whether all trials are done, all designs but the base, or the rest is not worth it."""
        regret = None if self.learned is None else self.learned.regret
        if self.run.until is not None and regret is not None and regret < self.run.until:
            return True
        most = self.run.trials if self.run.repeats else self.run.feasible_designs - 1
        return len(self.trials) >= min(self.run.trials, most)

    @property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that have a score."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def base_may_win(self) -> bool:
        """Whether the base's score is comparable: not so for zero-cost scores, which grow with it.

        A score of the user's own, named ``package.module:function``, is taken to be.
        """
        return ":" in self.run.score or self.run.score in MEASURED

    def reference(self, kind: ReferenceKind) -> Trial | None:
        """A reference that has a score: the best of its kind; None if there is none yet."""
        trials = self.designs([trial for role, trial in self.references if role == kind])
        return max(trials, key=lambda trial: trial.score or 0.0, default=None)

    def designs(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that have a score; with score ``train`` a design once, with what is expected of it.

        Args:
            trials: of this run, its references or both.
        """
        scored = [trial for trial in trials if trial.score is not None]
        if not self.run.trained:
            return scored
        by_design: dict[Design, list[Trial]] = {}
        for trial in scored:
            by_design.setdefault(trial.design, []).append(trial)
        return [replace(t[0], score=self._expected(d, t)) for d, t in by_design.items()]

    def _expected(self, design: Design, trials: Sequence[Trial]) -> float:
        estimate = None if self.learned is None else self.learned.of(design.insertions)
        if estimate is not None:
            return estimate.mean
        return sum(trial.score or 0.0 for trial in trials) / len(trials)

    def ranking(self) -> list[Trial]:
        """Trials from the best on: by score; among equals the one with fewer multiply-adds.

        With score ``train`` a design is there once, with the accuracy that is expected of it.

        Those that turned out too slow for a budget of time are left out.
        """
        ranked = self.designs(self.complete)
        base = self.reference("base")
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
        """The seeds that the search trained or scored designs with."""
        trials = [*self.trials, *(trial for _, trial in self.references)]
        return frozenset({self.run.seed, *(self.run.seed + (t.seed or 0) for t in trials)})

    @property
    def shares_seeds(self) -> bool:
        """Whether the evidence repeats trainings by which the search chose.

        The best design is then partly the luckiest with these seeds. Evidence that does not list
        its seeds is from a bamsearch that began with seed 0, as searches do.
        """
        if self.evidence is None or self.run.score not in MEASURED:
            return False
        seeds = self.evidence.seeds
        return not seeds or not self.search_seeds.isdisjoint(seeds)

    @property
    def shown_evidence(self) -> Evidence | None:
        """The evidence; None where another design is the best by now than the one trained."""
        best, evidence = self.best, self.evidence
        if best is None or evidence is None or not evidence.is_of("found", best.design.insertions):
            return None
        return evidence

    def pareto(self) -> list[Trial]:
        """The trials that no other one beats in one objective and equals in the rest.

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


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """At least as good in all; of equals the first stays."""
    return all(a <= b for a, b in zip(one, other, strict=True))
