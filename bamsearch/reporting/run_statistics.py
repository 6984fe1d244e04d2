"""Statistics of a run: counts, best scores so far, and what the score depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from bamsearch.records import Design, Run, RunRecord, Site, Trial
from bamsearch.reporting.text import score_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FactorAspect = Literal["BAM", "r", "d"]

MOSTLY_SIZE = 0.9
"""Above this rho, in absolute value, a score mostly ranks size."""

_FEWEST = 10
"""Fewest designs for which importances are computed."""


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


@dataclass(frozen=True, slots=True)
class Curves:
    """Best scores after 1, 2, … trials; None before the first score.

    Attributes:
        search: over the trials of the search, in the order in which they finished.
        random: over the random search; empty if that was left out.
        what: name of the scores.
    """

    search: tuple[float | None, ...]
    random: tuple[float | None, ...]
    what: str = "score"


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
    def named(self) -> dict[str, float | None]:
        """The correlations by the name of the size."""
        names = ("parameters", "multiply-adds", "number of BAMs")
        return dict(zip(names, (self.params, self.macs, self.bams), strict=True))

    @property
    def mostly_size(self) -> bool:
        """Whether any rho exceeds 0.9 in absolute value."""
        return any(rho is not None and abs(rho) > MOSTLY_SIZE for rho in self.named.values())


@dataclass(frozen=True, slots=True)
class Importance:
    """Share of the score's variance that one factor explains.

    Attributes:
        sites: site names; several if they vary together in all designs.
        aspect: ``BAM`` (presence), or its ``r`` or ``d`` if present.
        share: share of the variance, 0..1.
        designs: number of designs.
        best: value with the best mean score: ``yes``, ``no``, or the number.
    """

    sites: tuple[str, ...]
    aspect: FactorAspect
    share: float
    designs: int
    best: str


def all_trials(record: RunRecord) -> list[Trial]:
    """The trials of the search, then those of the baselines."""
    return [*record.trials, *(trial for _, trial in record.baselines)]


def random_trials(record: RunRecord) -> list[Trial]:
    """The trials of the random search."""
    return [trial for kind, trial in record.baselines if kind == "random"]


def health(record: RunRecord) -> Health:
    """Counts over a run."""
    run, everything = record.run, all_trials(record)
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
        sum(is_over_budget(run, trial) for trial in record.trials),
        sum(not finalist.kept for finalist in record.finalists),
        sum(trial.retries for trial in everything),
        max(last + 1 - len(record.trials) - retried, 0),
        median(seconds) if seconds else None,
    )


def is_over_budget(run: Run, trial: Trial) -> bool:
    """Whether the trial exceeds a budget; costs that were not measured count as 0."""
    ns = None if trial.ms is None else round(trial.ms * 1e6)
    taken = {"gflops": trial.macs, "params": trial.params, "memory": trial.memory, "ms": ns}
    return not all(budget.admits(taken[budget.quantity] or 0) for budget in run.budgets)


def curves(record: RunRecord) -> Curves:
    """The curves of a run; failed and stopped trials count.

    If designs are trained, the best score so far would be the luckiest training, so a trial counts
    with the final expected accuracy of its design.
    """
    return Curves(
        _best_so_far(_scores(record, record.trials)),
        _best_so_far(_scores(record, random_trials(record))),
        "expected accuracy" if record.run.trained else "score",
    )


def curve_sentence(curves: Curves) -> str:
    """The best scores of the search and of random search, in words."""
    search, random = curves.search, curves.random
    if not search or search[-1] is None:
        return "No trial has a score yet."
    number = search.index(search[-1]) + 1
    best = f"The best {curves.what}, {score_text(search[-1])},"
    reached = f"{best} was reached at trial {number} of {len(search)}"
    if not random or random[-1] is None:
        return f"{reached}; there is no random search to compare with."
    trial = next((n for n, s in enumerate(search, 1) if s is not None and s >= random[-1]), None)
    end = "never reached that" if trial is None else f"reached that at trial {trial}"
    return (
        f"{reached}. Random search over {len(random)} designs reached {score_text(random[-1])}; "
        f"the search {end}."
    )


def _scores(record: RunRecord, trials: Sequence[Trial]) -> list[float | None]:
    if not record.run.trained:
        return [trial.score for trial in trials]
    expected = {trial.design: trial.score for trial in record.designs(trials)}
    return [None if trial.score is None else expected[trial.design] for trial in trials]


def _best_so_far(scores: Iterable[float | None]) -> tuple[float | None, ...]:
    bests: list[float | None] = []
    best: float | None = None
    for score in scores:
        if score is not None and (best is None or score > best):
            best = score
        bests.append(best)
    return tuple(bests)


def size_correlation(record: RunRecord) -> SizeCorrelation:
    """The size correlation over the trials and baselines of a run, without the base."""
    trials = list(_scored_with_bam(record).values())
    scores = [trial.score or 0.0 for trial in trials]
    return SizeCorrelation(
        _rho(scores, [trial.params for trial in trials]),
        _rho(scores, [trial.macs for trial in trials]),
        _rho(scores, [len(trial.design.insertions) for trial in trials]),
        len(trials),
    )


def _scored_with_bam(record: RunRecord) -> dict[Design, Trial]:
    """A trial with a score for each design, without the base."""
    scored = record.designs(all_trials(record))
    return {trial.design: trial for trial in scored if trial.design.insertions}


def _rho(scores: list[float], sizes: list[int]) -> float | None:
    from scipy import stats

    if len(set(scores)) < 2 or len(set(sizes)) < 2:
        return None
    return float(stats.spearmanr(scores, sizes).statistic)


def importances(record: RunRecord) -> tuple[Importance, ...]:
    """All factors that vary, the most important first; empty with fewer than 10 scored designs.

    The factors of a site are whether it has BAM and, among the designs with BAM at it, r and d. The
    importance of a factor is the share of the score's variance that its group means explain, minus
    the share expected by chance: epsilon squared (Kelley, 1935), here cut off at 0::

        (SS_between - (k - 1) · SS_within / (n - k)) / SS_total

    for k values over n designs. It describes the scored designs: a search samples good designs more
    often, and factors can be confounded.

    Also empty if designs are trained: see :mod:`bamsearch.reporting.training_effects`.
    """
    import numpy as np

    scored = _scored_with_bam(record)
    if len(scored) < _FEWEST or record.run.trained:
        return ()
    scores = np.array([trial.score for trial in scored.values()], dtype=float)
    # The share does not depend on the unit, and squares of very large scores overflow.
    scores /= np.abs(scores).max() or 1.0
    by_site = [{i.site: i for i in design.insertions} for design in scored]
    used = set().union(*by_site)
    by_values: dict[tuple[FactorAspect, tuple[int, ...]], list[Site]] = {}
    for site in (site for site in record.run.summary.sites if site.name in used):
        insertions = [design.get(site.name) for design in by_site]
        columns: dict[FactorAspect, list[int]] = {
            "BAM": [int(i is not None) for i in insertions],
            "r": [i.reduction if i is not None else 0 for i in insertions],
            "d": [i.dilation if i is not None else 0 for i in insertions],
        }
        for aspect, values in columns.items():
            by_values.setdefault((aspect, tuple(values)), []).append(site)
    factors = [
        _importance(sites, aspect, column, scores) for (aspect, column), sites in by_values.items()
    ]
    varying = [factor for factor in factors if factor is not None]
    return tuple(sorted(varying, key=lambda factor: -factor.share))


def _importance(
    sites: Sequence[Site], aspect: FactorAspect, values: Sequence[int], scores: NDArray[np.float64]
) -> Importance | None:
    """The importance of a factor; None if it has one value, or one design per value."""
    import numpy as np

    column = np.array(values)
    selected = (column > 0) | (aspect == "BAM")
    scores = scores[selected]
    levels, groups = np.unique(column[selected], return_inverse=True)
    number, kinds = len(scores), len(levels)
    if kinds < 2 or number <= kinds:
        return None
    means = np.bincount(groups, scores) / np.bincount(groups)
    total = float(((scores - scores.mean()) ** 2).sum())
    if total == 0:
        return None
    within = float(((scores - means[groups]) ** 2).sum())
    share = (total - within - (kinds - 1) * within / (number - kinds)) / total
    best = int(levels[means.argmax()])
    named = ("no", "yes")[best] if aspect == "BAM" else str(best)
    return Importance(tuple(site.name for site in sites), aspect, max(share, 0.0), number, named)
