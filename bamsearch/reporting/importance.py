"""Importance of each decision for the score.

The factors of a site are whether it has BAM and, among the designs with BAM at it, r and d. The
importance of a factor is the share of the score's variance that its group means explain, minus the
share expected by chance: epsilon squared (Kelley, 1935), here cut off at 0::

    (SS_between - (k - 1) · SS_within / (n - k)) / SS_total

for k values over n designs. It describes the scored designs: a search samples good designs more
often, and factors can be confounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bamsearch.records import RunRecord, Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FactorAspect = Literal["BAM", "r", "d"]

_FEWEST = 10
"""Fewest designs for which importances are computed."""


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


def importances(record: RunRecord) -> tuple[Importance, ...]:
    """All factors that vary, the most important first; empty with fewer than 10 scored designs.

    Also empty if designs are trained: see :mod:`bamsearch.reporting.training_effects`.
    """
    import numpy as np

    scored = {
        trial.design: trial.score
        for trial in (*record.trials, *(trial for _, trial in record.baselines))
        if trial.score is not None and trial.design.insertions
    }
    if len(scored) < _FEWEST or record.run.score == "train":
        return ()
    scores = np.array(list(scored.values()), dtype=float)
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
    factors = []
    for (aspect, column), sites in by_values.items():
        factor = _importance(sites, aspect, column, scores)
        if factor is not None:
            factors.append(factor)
    return tuple(sorted(factors, key=lambda factor: -factor.share))


def _importance(
    sites: Sequence[Site], aspect: FactorAspect, values: Sequence[int], scores: NDArray[np.float64]
) -> Importance | None:
    """The importance of a factor; None if it has one value, or one design per value."""
    import numpy as np

    selected = [aspect == "BAM" or value > 0 for value in values]
    scores = scores[selected]
    levels = sorted({value for value, keep in zip(values, selected, strict=True) if keep})
    number, kinds = len(scores), len(levels)
    if kinds < 2 or number <= kinds:
        return None
    codes = {value: code for code, value in enumerate(levels)}
    groups = np.array([codes[v] for v, keep in zip(values, selected, strict=True) if keep])
    means = np.bincount(groups, scores) / np.bincount(groups)
    total = float(((scores - scores.mean()) ** 2).sum())
    if total == 0:
        return None
    within = float(((scores - means[groups]) ** 2).sum())
    share = (total - within - (kinds - 1) * within / (number - kinds)) / total
    best = levels[int(means.argmax())]
    named = ("no", "yes")[best] if aspect == "BAM" else str(best)
    return Importance(tuple(site.name for site in sites), aspect, max(share, 0.0), number, named)
