"""Texts about the draws of a score: their number and how much they differ."""

from __future__ import annotations

from collections.abc import Sequence

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit, Audited
from bamsearch.score.table import is_drawn


def intervals_text(audit: Audit) -> str:
    """What the intervals cover, and the scores whose noise of the draw they leave out."""
    draws = {
        agreement.score: agreement.draws
        for agreement in audit.agreements
        if is_drawn(agreement.score) and agreement.score not in (TRAIN, ANOTHER_SEED)
    }
    several = any(number > 1 for number in draws.values())
    over = "over designs and draws of the score" if several else "over designs"
    once = ", ".join(name for name, number in draws.items() if number == 1)
    noise = ""
    if once:
        noise = f" Scores drawn once ({once}): the interval does not include the noise of the draw."
    return (
        f"In brackets: 95% bootstrap intervals {over}; those of the differences to params hold "
        f"together.{noise} A dash means no value; the reasons are below."
    )


def seeds_text(audit: Audit) -> str:
    """Seeds of the draws."""
    first, last = audit.seeds[0], audit.seeds[0] + audit.score_seeds - 1
    return f"{first} to {last}" if last > first else str(first)


def one_draw_text(agreement: Agreement | None) -> str:
    """Mean correlation of one draw, and its standard deviation over draws."""
    if agreement is None or agreement.one_draw is None or agreement.draw_sd is None:
        return "–"
    # + 0.0 turns -0.0 into 0.0.
    return f"{round(agreement.one_draw, 2) + 0.0:.2f} (sd {agreement.draw_sd:.2f})"


def score_title(audit: Audit, score: str) -> str:
    """Suffix of an axis or column title for the values of :func:`mean_ranks`."""
    draws = max((len(design.scores.get(score, ())) for design in audit.designs), default=1)
    return f", mean rank of {draws} draws" if draws > 1 else ""


def mean_ranks(designs: Sequence[Audited], score: str) -> list[float | None]:
    """A score's value for each design; with several draws, the mean rank over them.

    Args:
        designs: the ranked designs.
        score: name of the score.

    Returns:
        One value per design; None if a draw failed on it.
    """
    import pandas as pd

    draws = [design.scores.get(score) or (None,) for design in designs]
    if max(map(len, draws), default=1) == 1:
        return [each[0] for each in draws]
    table = pd.DataFrame(draws, dtype=float)
    ranks = table.dropna().rank().mean(axis=1).reindex(table.index)
    return [None if pd.isna(rank) else round(float(rank), 4) for rank in ranks]
