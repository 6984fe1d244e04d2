"""The best score so far, of the search and of a random one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bamsearch.records import RunRecord, Trial
from bamsearch.report.text import score_text


@dataclass(frozen=True, slots=True)
class Curves:
    """Best scores after 1, 2, … trials; None as long as there is none.

    Attributes:
        search: over the search's own trials, in the order in which they finished.
        random: over the random search that it is compared with; empty where that was left out.
        what: the scores are.
    """

    search: tuple[float | None, ...]
    random: tuple[float | None, ...]
    what: str = "score"


def curves(record: RunRecord) -> Curves:
    """The curves of a run; a trial that failed or was stopped counts as one.

    Where designs are trained, the best score so far would be the luckiest training: a trial then
    counts with what is expected of its design in the end.
    """
    random = [trial for kind, trial in record.references if kind == "random"]
    what = "expected accuracy" if record.run.score == "train" else "score"
    return Curves(
        _best_so_far(_scores(record, record.trials)), _best_so_far(_scores(record, random)), what
    )


def curve_sentence(curves: Curves) -> str:
    """How far the search and a random one have come, in words."""
    search, random = curves.search, curves.random
    if not search or search[-1] is None:
        return "No trial has a score yet."
    number = search.index(search[-1]) + 1
    best = f"The best {curves.what}, {score_text(search[-1])},"
    found = f"{best} came with trial {number} of {len(search)}"
    if not random or random[-1] is None:
        return f"{found}; there is no random search to compare with."
    reached_at = next(
        (n for n, s in enumerate(search, 1) if s is not None and s >= random[-1]), None
    )
    end = (
        "which the search did not reach" if reached_at is None else f"reached by trial {reached_at}"
    )
    return (
        f"{found}. Random search of {len(random)} designs came to {score_text(random[-1])}, {end}."
    )


def _scores(record: RunRecord, trials: Sequence[Trial]) -> list[float | None]:
    if record.run.score != "train":
        return [trial.score for trial in trials]
    known = {trial.design: trial.score for trial in record.designs(trials)}
    return [None if trial.score is None else known[trial.design] for trial in trials]


def _best_so_far(scores: Iterable[float | None]) -> tuple[float | None, ...]:
    found: list[float | None] = []
    best: float | None = None
    for score in scores:
        if score is not None and (best is None or score > best):
            best = score
        found.append(best)
    return tuple(found)
