"""What each row of the comparison differs in from any other one."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.report.comparison import Compared
from bamsearch.report.text import change, score_text


@dataclass(frozen=True, slots=True)
class Differences:
    """Texts for one row; empty where there is nothing to compare.

    Attributes:
        params: relative: ``+0.81 %``.
        gflops: relative.
        score: absolute, in the score's own unit; none of expected accuracies, whose difference
            has an interval that theirs do not tell.
        accuracy: points with their interval, of pairs with the same seed only.
    """

    params: str = ""
    gflops: str = ""
    score: str = ""
    accuracy: str = ""


def differences(row: Compared, other: Compared) -> Differences:
    """Row less other.

    Args:
        row: of the comparison.
        other: another row, or the same: all is empty then.
    """
    if row.role == other.role:
        return Differences()
    return Differences(
        _relative(row.params, other.params),
        _relative(row.macs, other.macs),
        "" if row.expected or other.expected else _absolute(row.score, other.score),
        _accuracy(row, other),
    )


def _relative(now: int | None, base: int | None) -> str:
    return "" if now is None or base is None else change(base, now)


def _absolute(now: float | None, base: float | None) -> str:
    """With as many decimals as the scores are shown with."""
    if now is None or base is None:
        return ""
    shown = score_text(max(abs(now), abs(base)))
    if "e" in shown:
        return f"{now - base:+.4e}"
    decimals = len(shown.partition(".")[2])
    return f"{now - base:+,.{decimals}f}"


def _accuracy(row: Compared, other: Compared) -> str:
    """Only what was found has paired differences, to the others."""
    if row.role == "found" and other.difference is not None:
        one, sign = other.difference, 1
    elif other.role == "found" and row.difference is not None:
        one, sign = row.difference, -1
    else:
        return ""
    low, high = sorted((sign * one.low, sign * one.high))
    return f"{sign * one.points:+.2f} [{low:+.2f}, {high:+.2f}]"
