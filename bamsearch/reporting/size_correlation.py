"""Rank correlation of a score with size: parameters, multiply-adds and number of BAMs."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import RunRecord, Trial

MOSTLY_SIZE = 0.9
"""Above this rho, in absolute value, a score mostly ranks size."""


@dataclass(frozen=True, slots=True)
class SizeCorrelation:
    """Spearman's rho of the score with size, over all scored designs.

    Attributes:
        params: rho with parameters; None if either does not vary.
        macs: rho with multiply-adds, likewise.
        bams: rho with the number of BAMs, likewise; synflow, for example, sees nothing else.
        designs: number of different designs.
    """

    params: float | None
    macs: float | None
    bams: float | None
    designs: int

    @property
    def mostly_size(self) -> bool:
        """Whether any rho exceeds 0.9 in absolute value."""
        rhos = (self.params, self.macs, self.bams)
        return any(rho is not None and abs(rho) > MOSTLY_SIZE for rho in rhos)


def size_correlation(record: RunRecord) -> SizeCorrelation:
    """The size correlation over the trials and baselines of a run, without the base."""
    scored: dict[object, Trial] = {
        trial.design: trial
        for trial in record.designs([*record.trials, *(trial for _, trial in record.baselines)])
        if trial.design.insertions
    }
    trials = list(scored.values())
    scores = [trial.score or 0.0 for trial in trials]
    return SizeCorrelation(
        _rho(scores, [trial.params for trial in trials]),
        _rho(scores, [trial.macs for trial in trials]),
        _rho(scores, [len(trial.design.insertions) for trial in trials]),
        len(trials),
    )


def _rho(scores: list[float], sizes: list[int]) -> float | None:
    from scipy import stats

    if len(set(scores)) < 2 or len(set(sizes)) < 2:
        return None
    return float(stats.spearmanr(scores, sizes).statistic)
