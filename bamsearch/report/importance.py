"""Which choices the score depends on.

For each site: whether there is BAM, and, among the designs with BAM there, which r and which d. The
importance of such a factor is the share of the score's variance that its group means explain,
without what chance alone would explain: epsilon squared (Kelley, 1935), here cut off at 0::

    (SS_between - (k - 1) · SS_within / (n - k)) / SS_total

for k values over n designs. It is a description of the designs that were scored: a search looks
more at what scores well, and a factor can stand for another that goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bamsearch.records import RunRecord, Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Aspect = Literal["BAM", "r", "d"]

_FEWEST = 10
"""Designs below which nothing is said."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much of the score's variance one factor explains.

    Attributes:
        sites: names; several where they go together in every design.
        aspect: ``BAM`` or none there, or its ``r`` or ``d`` where it is there.
        share: 0 to 1.
        designs: over how many.
        best: the value with the best mean score: ``yes``, ``no``, or the number.
    """

    sites: tuple[str, ...]
    aspect: Aspect
    share: float
    designs: int
    best: str


def importances(record: RunRecord) -> tuple[Importance, ...]:
    """All factors that vary, the most important first; none where fewer than 10 designs scored.

    None either where designs are trained: those have effects, :mod:`bamsearch.report.mattered`.
    """
    import numpy as np

    scored = {
        trial.design: trial.score
        for trial in (*record.trials, *(trial for _, trial in record.references))
        if trial.score is not None and trial.design.insertions
    }
    if len(scored) < _FEWEST or record.run.score == "train":
        return ()
    scores = np.array(list(scored.values()), dtype=float)
    # The share does not depend on the unit, and squares of very large scores overflow.
    scores /= np.abs(scores).max() or 1.0
    there = [{one.site: one for one in design.insertions} for design in scored]
    used = set().union(*there)
    by_values: dict[tuple[Aspect, tuple[int, ...]], list[Site]] = {}
    for site in (site for site in record.run.summary.sites if site.name in used):
        here = [one.get(site.name) for one in there]
        columns: dict[Aspect, list[int]] = {
            "BAM": [int(one is not None) for one in here],
            "r": [one.reduction if one is not None else 0 for one in here],
            "d": [one.dilation if one is not None else 0 for one in here],
        }
        for aspect, values in columns.items():
            by_values.setdefault((aspect, tuple(values)), []).append(site)
    found = []
    for (aspect, column), sites in by_values.items():
        one = _importance(sites, aspect, column, scores)
        if one is not None:
            found.append(one)
    return tuple(sorted(found, key=lambda one: -one.share))


def _importance(
    sites: Sequence[Site], aspect: Aspect, values: Sequence[int], scores: NDArray[np.float64]
) -> Importance | None:
    """None where there is one value only, or one design per value."""
    import numpy as np

    kept = [aspect == "BAM" or value > 0 for value in values]
    scores = scores[kept]
    known = sorted({value for value, keep in zip(values, kept, strict=True) if keep})
    number, kinds = len(scores), len(known)
    if kinds < 2 or number <= kinds:
        return None
    codes = {value: code for code, value in enumerate(known)}
    groups = np.array([codes[v] for v, keep in zip(values, kept, strict=True) if keep])
    means = np.bincount(groups, scores) / np.bincount(groups)
    total = float(((scores - scores.mean()) ** 2).sum())
    if total == 0:
        return None
    within = float(((scores - means[groups]) ** 2).sum())
    share = (total - within - (kinds - 1) * within / (number - kinds)) / total
    best = known[int(means.argmax())]
    named = ("no", "yes")[best] if aspect == "BAM" else str(best)
    return Importance(tuple(site.name for site in sites), aspect, max(share, 0.0), number, named)
