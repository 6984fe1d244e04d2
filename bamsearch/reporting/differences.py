"""Differences between the rows of the comparison."""

from __future__ import annotations

from dataclasses import dataclass

from bamsearch.reporting.comparison import Compared
from bamsearch.reporting.text import change, score_text


@dataclass(frozen=True, slots=True)
class Differences:
    """Texts for one row; empty if there is nothing to compare.

    Attributes:
        params: relative: ``+0.81%``.
        gflops: relative.
        score: absolute, in the score's unit; empty for expected accuracies, because the interval
            of their difference does not follow from their own.
        accuracy: points with their interval, from pairs with the same seed only.
    """

    params: str = ""
    gflops: str = ""
    score: str = ""
    accuracy: str = ""


def differences(row: Compared, other: Compared) -> Differences:
    """Row minus other; all texts are empty if both are the same row."""
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
    """The difference with as many decimals as the scores."""
    if now is None or base is None:
        return ""
    shown = score_text(max(abs(now), abs(base)))
    if "e" in shown:
        return f"{now - base:+.4e}"
    decimals = len(shown.partition(".")[2])
    return f"{now - base:+,.{decimals}f}"


def _accuracy(row: Compared, other: Compared) -> str:
    """The difference to or from the best design; no other rows are paired."""
    if row.role == "found" and other.difference is not None:
        difference, sign = other.difference, 1
    elif other.role == "found" and row.difference is not None:
        difference, sign = row.difference, -1
    else:
        return ""
    low, high = sorted((sign * difference.low, sign * difference.high))
    return f"{sign * difference.points:+.2f} [{low:+.2f}, {high:+.2f}]"
