"""How far a score only ranks size: Spearman's rho with parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.records import RunRecord, Trial

MOSTLY_SIZE = 0.9
"""From this rho on, in absolute value, a score mostly ranks size."""


@dataclass(frozen=True, slots=True)
class SizeCorrelation:
    """Rank correlation of the scores with size, over all designs that have a score.

    Attributes:
        params: Spearman's rho with parameters; None where one of the two does not vary.
        macs: likewise with multiply-adds.
        designs: over how many different designs.
    """

    params: float | None
    macs: float | None
    designs: int

    @property
    def mostly_size(self) -> bool:
        """Whether either is at least 0.9 in absolute value."""
        return any(rho is not None and abs(rho) >= MOSTLY_SIZE for rho in (self.params, self.macs))


def size_correlation(record: RunRecord) -> SizeCorrelation:
    """Spearman's rho of score with size over a run's trials and its random search; no base."""
    scored: dict[object, Trial] = {
        trial.design: trial
        for trial in (*record.trials, *(trial for _, trial in record.references))
        if trial.score is not None and trial.design.insertions
    }
    trials = list(scored.values())
    scores = [trial.score or 0.0 for trial in trials]
    return SizeCorrelation(
        _rho(scores, [trial.params for trial in trials]),
        _rho(scores, [trial.macs for trial in trials]),
        len(trials),
    )


def _rho(scores: list[float], sizes: list[int]) -> float | None:
    from scipy import stats

    if len(set(scores)) < 2 or len(set(sizes)) < 2:
        return None
    return float(stats.spearmanr(scores, sizes).statistic)
