"""The best score so far, of the search and of a random one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bamsearch.records import RunRecord


@dataclass(frozen=True, slots=True)
class Curves:
    """Best scores after 1, 2, … trials; None as long as there is none.

    Attributes:
        search: over the search's own trials, in the order in which they finished.
        random: over the random search that it is compared with; empty where that was left out.
    """

    search: tuple[float | None, ...]
    random: tuple[float | None, ...]


def curves(record: RunRecord) -> Curves:
    """The curves of a run; a trial that failed counts as one."""
    random = (trial.score for kind, trial in record.references if kind == "random")
    return Curves(_best_so_far(trial.score for trial in record.trials), _best_so_far(random))


def _best_so_far(scores: Iterable[float | None]) -> tuple[float | None, ...]:
    found: list[float | None] = []
    best: float | None = None
    for score in scores:
        if score is not None and (best is None or score > best):
            best = score
        found.append(best)
    return tuple(found)
