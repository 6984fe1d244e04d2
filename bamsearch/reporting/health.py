"""Counts over a search: feasible designs, failures, retries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from bamsearch.records import RunRecord, Trial


@dataclass(frozen=True, slots=True)
class Health:
    """Counts over a run.

    Attributes:
        designs: designs in the space.
        feasible: feasible designs.
        exact: whether ``feasible`` was counted rather than estimated.
        wanted: requested trials.
        scored: trials with a score.
        failed: trials that failed.
        stopped: trainings stopped early because they could not win.
        reasons: reasons of failure and their counts, the most frequent first.
        over_budget: scored designs over a budget: 0, counted rather than assumed.
        slow: timed designs that left the ranking because they were over a time budget.
        retried: retries of trials whose process ended.
        withdrawn: proposals dropped because another process had the same design, or because there
            were enough trials without them.
        seconds: median duration of one scoring; None if none was timed.
    """

    designs: int
    feasible: int
    exact: bool
    wanted: int
    scored: int
    failed: int
    stopped: int
    reasons: tuple[tuple[str, int], ...]
    over_budget: int
    slow: int
    retried: int
    withdrawn: int
    seconds: float | None

    @property
    def share(self) -> float:
        """Share of feasible designs."""
        return self.feasible / self.designs if self.designs else 0.0


def health(record: RunRecord) -> Health:
    """Counts over a run."""
    run = record.run
    everything = [*record.trials, *(trial for _, trial in record.baselines)]
    seconds = [trial.seconds for trial in everything if trial.seconds is not None]
    reasons = Counter(t.reason or "" for t in everything if t.state == "failed")
    # Numbers missing from the record belong to retried and to withdrawn trials.
    last = max((trial.number for trial in record.trials), default=-1)
    retried = sum(trial.retries for trial in record.trials)
    return Health(
        run.designs,
        run.feasible_designs,
        run.exact,
        run.trials,
        len(record.complete),
        sum(trial.state == "failed" for trial in record.trials),
        sum(trial.state == "stopped" for trial in record.trials),
        tuple(reasons.most_common()),
        over_budget(record),
        sum(not finalist.kept for finalist in record.finalists),
        sum(trial.retries for trial in everything),
        max(last + 1 - len(record.trials) - retried, 0),
        median(seconds) if seconds else None,
    )


def over_budget(record: RunRecord) -> int:
    """Number of scored designs over a budget: 0, counted rather than assumed."""

    def over(trial: Trial) -> bool:
        ns = None if trial.ms is None else round(trial.ms * 1e6)
        taken = {"gflops": trial.macs, "params": trial.params, "memory": trial.memory, "ms": ns}
        return not all(b.admits(taken[b.quantity] or 0) for b in record.run.budgets)

    return sum(over(trial) for trial in record.trials)
