"""The best score so far, of the search and of random search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bamsearch.records import RunRecord, Trial
from bamsearch.reporting.text import score_text


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


def curves(record: RunRecord) -> Curves:
    """The curves of a run; failed and stopped trials count.

    If designs are trained, the best score so far would be the luckiest training, so a trial counts
    with the final expected accuracy of its design.
    """
    random = [trial for kind, trial in record.baselines if kind == "random"]
    quantity = "expected accuracy" if record.run.score == "train" else "score"
    return Curves(
        _best_so_far(_scores(record, record.trials)),
        _best_so_far(_scores(record, random)),
        quantity,
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
    if record.run.score != "train":
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
