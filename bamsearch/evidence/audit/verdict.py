"""Which score deserves to be the default, in words."""

from __future__ import annotations

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit
from bamsearch.records.runs import MEASURED
from bamsearch.score.table import is_drawn

CHEAPEST = "params"

LEAST_IN_BAND = 8
"""Designs: fewer say nothing of a score."""


def default_score(audit: Audit) -> str | None:
    """The score that a search without data should take.

    It is the one nearest to training inside the band, if its paired difference to ``params`` is
    above 0 with 95 %; else ``params``, which costs nothing. None if nothing can be compared, or
    over too few designs.
    """
    best, size = nearest(audit), audit.agreement(CHEAPEST, "band")
    if best is None or size is None or size.value is None or size.designs < LEAST_IN_BAND:
        return None
    return best.score if best.told else CHEAPEST


def nearest(audit: Audit) -> Agreement | None:
    """Tau inside the band of the zero-cost score, ``params`` aside, that is nearest to training.

    Of those that were asked for: a search cannot take what only stands in ``scores.json``.
    """
    candidates = [
        agreement
        for agreement in audit.agreements
        if (agreement.setting, agreement.measure) == ("band", "tau")
        and agreement.score in audit.scores
        and agreement.score not in (CHEAPEST, ANOTHER_SEED, *MEASURED)
        and agreement.value is not None
    ]
    return max(candidates, key=lambda agreement: agreement.value or 0.0, default=None)


def verdict(audit: Audit) -> str:
    """What the audit says, the answer first."""
    best, size = nearest(audit), audit.agreement(CHEAPEST, "band")
    if best is None or size is None or size.value is None:
        why = "no score has a value there" if size is None or not size.reason else size.reason
        return f"Not known: inside the band params cannot be compared ({why}). Give more --designs."
    if size.designs < LEAST_IN_BAND:
        return (
            f"Not known: {size.designs} designs lie inside the band, and fewer than "
            f"{LEAST_IN_BAND} say nothing of a score. Give more --designs."
        )
    where = "Inside the budget" if audit.budgets else "In the most expensive quarter of the space"
    if best.told:
        first = (
            f"{where} {best.score} orders designs better than params: "
            f"tau {_text(best)} against {_text(size)}, {_difference(best)}."
        )
    else:
        first = (
            f"{where} the zero-cost score nearest to training, {best.score}, is not told to order "
            f"designs better than params: tau {_text(best)} against {_text(size)}, "
            f"{_difference(best)}. So params is taken, the cheapest."
        )
    chosen = best if best.told else size
    if chosen.low is not None and chosen.low <= 0:
        first += f" {chosen.score} itself is not told from chance there."
    if best.draws == 1 and is_drawn(best.score):
        first += f" One draw of {best.score}: its noise is not in the interval."
    return first


def draw_sentences(audit: Audit) -> list[str]:
    """How far draws of the nearest score differ; none where there is one draw."""
    best = nearest(audit)
    if best is None or best.one_draw is None or best.draw_sd is None:
        return []
    first, last = audit.seeds[0], audit.seeds[0] + best.draws - 1
    return [
        "Scores that depend on initial weights and images are averaged as ranks over "
        f"{best.draws} draws (seeds {first} to {last}). A search takes one draw: one draw of "
        f"{best.score} has tau {_number(best.one_draw)} inside the band, sd "
        f"{_number(best.draw_sd)} over draws."
    ]


def trained_sentences(audit: Audit) -> list[str]:
    """How scores that train do inside the band, a sentence each."""
    sentences = []
    for name in MEASURED:
        agreement = audit.agreement(name, "band")
        if agreement is None or agreement.value is None or agreement.more is None:
            continue
        subject = f"One training of a design ({name})" if name == TRAIN else name
        if agreement.told:
            conclusion = "better than params"
        elif agreement.more_high is not None and agreement.more_high < 0:
            conclusion = "worse than params"
        else:
            conclusion = "no better than params, as far as can be told"
        sentences.append(
            f"{subject} orders designs {conclusion}: tau {_text(agreement)}, {_difference(agreement)}."
        )
    return sentences


def _text(agreement: Agreement) -> str:
    low, high = agreement.low, agreement.high
    interval = "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"
    return f"{_number(agreement.value or 0.0)}{interval}"


def _difference(agreement: Agreement) -> str:
    if agreement.more is None:
        return "no difference known"
    low, high = agreement.more_low, agreement.more_high
    interval = ""
    if low is not None and high is not None:
        interval = f" [{_number(low, '+')}, {_number(high, '+')}]"
    return f"difference {_number(agreement.more, '+')}{interval}"


def _number(value: float, sign: str = "") -> str:
    """Two decimals; what rounds to 0 has no minus."""
    return f"{round(value, 2) + 0.0:{sign}.2f}"
