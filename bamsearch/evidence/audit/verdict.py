"""The verdict of an audit in words: which score should be the default."""

from __future__ import annotations

from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit
from bamsearch.records.runs import MEASURED
from bamsearch.score.table import is_drawn

CHEAPEST = "params"

LEAST_IN_BAND = 8
"""Fewest designs in the band that can assess a score."""


def default_score(audit: Audit) -> str | None:
    """The score that a search without data should use.

    It is the one closest to training inside the band if its paired difference to ``params`` is
    significantly above 0 (95%); otherwise ``params``, which costs nothing. None if there is nothing
    to compare, or if there are too few designs.
    """
    best, size = nearest(audit), audit.agreement(CHEAPEST, "band")
    if best is None or size is None or size.value is None or size.designs < LEAST_IN_BAND:
        return None
    return best.score if best.significant else CHEAPEST


def nearest(audit: Audit) -> Agreement | None:
    """Tau inside the band of the zero-cost score closest to training, other than ``params``.

    Only requested scores count: a search cannot use a score that is only in ``scores.json``.
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
    """The verdict, the answer first."""
    best, size = nearest(audit), audit.agreement(CHEAPEST, "band")
    if best is None or size is None or size.value is None:
        reason = "no score has a value there" if size is None or not size.reason else size.reason
        return (
            f"Not known: inside the band params cannot be compared ({reason}). Give more --designs."
        )
    if size.designs < LEAST_IN_BAND:
        return (
            f"Not known: {size.designs} designs are inside the band, but at least {LEAST_IN_BAND} "
            "are needed to assess a score. Give more --designs."
        )
    where = "Inside the budget" if audit.budgets else "In the most expensive quarter of the space"
    if best.significant:
        first = (
            f"{where}, {best.score} ranks designs better than params: "
            f"tau {_text(best)} against {_text(size)}, {_difference(best)}."
        )
    else:
        first = (
            f"{where}, {best.score}, the zero-cost score closest to training, does not rank "
            f"designs significantly better than params: tau {_text(best)} against {_text(size)}, "
            f"{_difference(best)}. The default is therefore params, the cheapest score."
        )
    chosen = best if best.significant else size
    if chosen.low is not None and chosen.low <= 0:
        first += f" {chosen.score} itself is not distinguishable from chance there."
    if best.draws == 1 and is_drawn(best.score):
        first += (
            f" {best.score} was drawn once: the interval does not include the noise of the draw."
        )
    return first


def draw_sentences(audit: Audit) -> list[str]:
    """Differences between draws of the closest score, in words; empty with one draw."""
    best = nearest(audit)
    if best is None or best.one_draw is None or best.draw_sd is None:
        return []
    first, last = audit.seeds[0], audit.seeds[0] + best.draws - 1
    return [
        "The ranks of scores that depend on initial weights and images are averaged over "
        f"{best.draws} draws (seeds {first} to {last}). A search uses a single draw, which for "
        f"{best.score} has tau {_number(best.one_draw)} inside the band, sd "
        f"{_number(best.draw_sd)} over draws."
    ]


def trained_sentences(audit: Audit) -> list[str]:
    """Agreement of scores that train inside the band, one sentence each."""
    sentences = []
    for name in MEASURED:
        agreement = audit.agreement(name, "band")
        if agreement is None or agreement.value is None or agreement.more is None:
            continue
        subject = f"One training of a design ({name})" if name == TRAIN else name
        if agreement.significant:
            conclusion = "ranks designs better than params"
        elif agreement.more_high is not None and agreement.more_high < 0:
            conclusion = "ranks designs worse than params"
        else:
            conclusion = "does not rank designs significantly better than params"
        tau = _text(agreement)
        sentences.append(f"{subject} {conclusion}: tau {tau}, {_difference(agreement)}.")
    return sentences


def _text(agreement: Agreement) -> str:
    low, high = agreement.low, agreement.high
    interval = "" if low is None or high is None else f" [{_number(low)}, {_number(high)}]"
    return f"{_number(agreement.value or 0.0)}{interval}"


def _difference(agreement: Agreement) -> str:
    if agreement.more is None:
        return "difference unknown"
    low, high = agreement.more_low, agreement.more_high
    interval = ""
    if low is not None and high is not None:
        interval = f" [{_number(low, '+')}, {_number(high, '+')}]"
    return f"difference {_number(agreement.more, '+')}{interval}"


def _number(value: float, sign: str = "") -> str:
    """Two decimals, without -0.00."""
    return f"{round(value, 2) + 0.0:{sign}.2f}"
