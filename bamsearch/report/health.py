"""How a search went: what fits, what failed, what had to be done again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from bamsearch.records import RunRecord, Trial


@dataclass(frozen=True, slots=True)
class Health:
    """Counts over a run.

    Attributes:
        designs: in the space.
        feasible: that fit.
        exact: whether that was counted, else estimated.
        wanted: trials asked for.
        scored: trials with a score.
        failed: trials without, as something went wrong.
        stopped: trainings stopped early, as they could not win.
        reasons: why, and how often, the most frequent first.
        over_budget: scored designs that cost more than a budget allows: 0, counted, not assumed.
        slow: timed designs that left the ranking, as too slow for a budget of time.
        retried: how often a trial was begun again after its process ended.
        withdrawn: proposals dropped as another process had the same design, or enough without it.
        seconds: median of one scoring; None where none was timed.
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
        """The share of designs that fit."""
        return self.feasible / self.designs if self.designs else 0.0


def health(record: RunRecord) -> Health:
    """The counts of a run."""
    run = record.run
    everything = [*record.trials, *(trial for _, trial in record.references)]
    seconds = [trial.seconds for trial in everything if trial.seconds is not None]
    reasons = Counter(t.reason or "" for t in everything if t.state == "failed")
    # Numbers that are in no line of the record: the trials begun again, and those withdrawn.
    last = max((trial.number for trial in record.trials), default=-1)
    begun_again = sum(trial.retries for trial in record.trials)
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
        sum(not one.kept for one in record.finalists),
        sum(trial.retries for trial in everything),
        max(last + 1 - len(record.trials) - begun_again, 0),
        median(seconds) if seconds else None,
    )


def over_budget(record: RunRecord) -> int:
    """How many scored designs cost more than a budget allows: 0, counted and not assumed."""

    def over(trial: Trial) -> bool:
        ns = None if trial.ms is None else round(trial.ms * 1e6)
        taken = {"gflops": trial.macs, "params": trial.params, "memory": trial.memory, "ms": ns}
        return any((taken[b.quantity] or 0) > b.limit for b in record.run.budgets)

    return sum(over(trial) for trial in record.trials)
