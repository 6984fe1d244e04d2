"""What a report says of the draws of a score: how many there are, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit, Audited
from bamsearch.score.table import is_drawn


def intervals_text(audit: Audit) -> str:
    """What the intervals are over, and for which scores that leaves out the noise of the draw."""
    draws = {
        one.score: one.draws
        for one in audit.agreements
        if is_drawn(one.score) and one.score not in (TRAIN, ANOTHER_SEED)
    }
    several = any(number > 1 for number in draws.values())
    over = "over designs and draws of the score" if several else "over designs"
    once = ", ".join(name for name, number in draws.items() if number == 1)
    noise = f" One draw of the score ({once}): its noise is not in the interval." if once else ""
    return (
        f"In brackets: 95 % intervals, {over} (resampled); each of itself, those of the "
        f"differences to params together.{noise} A dash: no value, see the reasons below."
    )


def seeds_text(audit: Audit) -> str:
    """The seeds of the draws."""
    first, last = audit.seeds[0], audit.seeds[0] + audit.score_seeds - 1
    return f"{first} to {last}" if last > first else str(first)


def one_draw_text(one: Agreement | None) -> str:
    """Mean correlation of one draw, and its standard deviation over draws."""
    if one is None or one.one_draw is None or one.draw_sd is None:
        return "–"
    # Without the minus of what rounds to 0.
    return f"{round(one.one_draw, 2) + 0.0:.2f} (sd {one.draw_sd:.2f})"


def score_title(audit: Audit, score: str) -> str:
    """What the values of :func:`mean_ranks` are."""
    draws = max((len(one.scores.get(score, ())) for one in audit.designs), default=1)
    return f", mean rank of {draws} draws" if draws > 1 else ""


def mean_ranks(designs: Sequence[Audited], score: str) -> list[float | None]:
    """A score's value for each design; of several draws, the mean of its ranks over them.

    Args:
        designs: the designs that are ranked.
        score: its name.

    Returns:
        None for a design on which a draw failed.
    """
    import pandas as pd

    draws = [one.scores.get(score) or (None,) for one in designs]
    if max(map(len, draws), default=1) == 1:
        return [each[0] for each in draws]
    table = pd.DataFrame(draws, dtype=float)
    ranks = table.dropna().rank().mean(axis=1).reindex(table.index)
    return [None if pd.isna(rank) else round(float(rank), 4) for rank in ranks]
