"""Does it help? What training has shown, else what the scores are worth."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from bamsearch.records import MEASURED, Cited, Difference, Evidence, Over, Run, RunRecord
from bamsearch.records import Verdict as Shown
from bamsearch.report.comparison import LABELS
from bamsearch.report.mattered import interval_text
from bamsearch.report.text import count_text, design_text, over_text
from bamsearch.score.table import COSTS, DEFAULT_REASON, DEFAULT_SCORE, SCORES, is_drawn
from bamsearch.searching.sizes import SizeCorrelation

SHARED_SEEDS = (
    "Trained with seeds the search had chosen by: the difference is likely too high; verify again."
)

OVER: dict[Over, str] = {
    "seeds": "Intervals are over seeds, on these test images: for images like these they are too "
    "narrow; verify --over images widens them.",
    "images": "Intervals are over seeds and images: for other images like these too.",
}

Verdict = Shown | Literal["unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to "does it help?", as far as there is one.

    Attributes:
        verdict: of what was found against the base; ``unknown`` where nothing was trained.
        headline: the answer in one line.
        remarks: what it rests on, a line each.
        next_step: what to type to know more.
        warnings: those of the remarks that must stand beside the headline wherever it is shown.
    """

    verdict: Verdict
    headline: str
    remarks: tuple[str, ...]
    next_step: str
    warnings: tuple[str, ...] = ()


def answer(record: RunRecord, sizes: SizeCorrelation, place: str) -> Answer:
    """The answer that a run gives.

    Args:
        record: the run.
        sizes: how far its score ranks size.
        place: the run's name or folder, as commands take it.
    """
    remarks = tuple(score_remarks(record, sizes))
    next_step = verify_line(record, place)
    evidence = record.shown_evidence
    if record.best is None:
        return Answer("unknown", "Not known: nothing has a score yet.", (), _go_on(record, place))
    if evidence is None and record.evidence is not None:
        headline = "Not known: another design is the best by now than the one that was trained."
        return Answer("unknown", headline, remarks, next_step)
    if evidence is None or not evidence.differences:
        headline = "Not known. Scores only, no training evidence."
        if record.run.score == "train":
            headline = "Not known. Short trainings on validation images only, no test result."
        return Answer("unknown", headline, remarks, next_step)
    first, *others = evidence.differences
    headline = _sentence(record, first, evidence, "over " if first.points >= 0 else "under ")
    lines = tuple(_sentence(record, one, evidence, "against ") for one in others)
    data = f"Trained on {evidence.data}; intervals of {evidence.confidence:.0%} together."
    over = () if evidence.over is None else (OVER[evidence.over],)
    warnings = (SHARED_SEEDS,) if record.shares_seeds else ()
    if evidence.exploratory:
        headline, warnings = f"Exploratory: {headline}", (evidence.exploratory, *warnings)
    lines = (*warnings, *lines, data, *over, *evidence.remarks, *remarks)
    return Answer(first.verdict, headline, lines, evidence.command, warnings)


def verify_line(record: RunRecord, place: str) -> str:
    """What to type to see what training what was found would take.

    Args:
        record: the run; its data are named, if it has some.
        place: its name or folder, as commands take it.
    """
    data = "NAME" if record.run.data is None else record.run.data.name
    return shlex.join(["bamsearch", "verify", place, "--data", data, "--dry-run"])


def score_remarks(record: RunRecord, sizes: SizeCorrelation) -> list[str]:
    """What the scores are worth: one is trained, audited, or neither.

    Args:
        record: the run.
        sizes: how far its score ranks size.
    """
    run = record.run
    if record.shown_evidence is not None:
        lines = []
    elif run.score == "train":
        lines = _trained_remarks(record)
    elif run.score == "supernet":
        lines = [
            "Accuracies are of one weight-sharing supernet on the validation images: they rank "
            "designs only as far as an audit shows."
        ]
    elif run.audit is not None and run.audit.score == run.score:
        lines = [f"Nothing was trained; {_audited(run.audit)}"]
    elif run.score in SCORES:
        lines = [
            f"Nothing was trained; {run.score} has not been audited in this budget{_why(run)}."
        ]
    else:
        lines = [f"One value of {run.score} a design: no interval, no repeated seeds."]
    lines.append(_cost_line(run) if run.score in COSTS else _tracks(run, sizes))
    base, best = record.reference("base"), record.best
    tied = sum(best is not None and trial.score == best.score for trial in record.ranking())
    if tied > 1:
        lines.append(f"{tied} designs tie for the best score; fewer multiply-adds rank first.")
    random = record.reference("random")
    if best is not None and random is not None and (random.score or 0.0) > (best.score or 0.0):
        lines.append("Random search of the same length scored higher here: give more --trials.")
    if best is not None and not best.design.insertions:
        lines.append("No design scores better than the base network.")
    elif base is not None and not record.base_may_win:
        lines.append("The base is shown, not ranked: such a score grows with the network.")
    return lines


def _why(run: Run) -> str:
    """Why the default score is the default."""
    return f"; {DEFAULT_REASON}" if run.score == DEFAULT_SCORE else ""


def _cost_line(run: Run) -> str:
    """What a score that is a cost can tell."""
    more = "--data NAME" if run.data is None else "--score train"
    first = ", with d=4 first" if run.sampler == "sorted" else ""
    return (
        f"{run.score} {SCORES[run.score].failure}. It needs no search; designs that differ only in "
        f"d tie{first}. Train to learn more: {more}."
    )


def _tracks(run: Run, sizes: SizeCorrelation) -> str:
    return tracks("accuracy" if run.score in MEASURED else run.score, sizes)


def _trained_remarks(record: RunRecord) -> list[str]:
    """What is expected of what was found and of the base; apart or not, as their intervals are."""
    lines = [
        "Each accuracy is an expectation from short trainings, on the validation images: "
        "no test result; verify tests."
    ]
    best, learned = record.best, record.learned
    if best is None or learned is None:
        return lines
    first, gain = learned.ranking[0].insertions, learned.gain
    if gain is None:
        return lines
    of = "what was found"
    if first != best.design.insertions:
        of = f"{design_text(record.run.design(first))}, a reference that nothing found is above"
    interval = interval_text(gain.low, gain.high, signed=True)
    told = "" if gain.low > 0 or gain.high < 0 else ", not distinguished from 0"
    lines.append(
        f"Expected of {of}: {gain.points:+.2f} points over base, "
        f"{learned.confidence:.0%} {interval}{told}."
    )
    return lines


def tracks(score: str, sizes: SizeCorrelation) -> str:
    """What the score goes with over all that was scored."""
    named = {
        "parameter count": sizes.params,
        "multiply-adds": sizes.macs,
        "number of BAMs": sizes.bams,
    }
    known = {name: rho for name, rho in named.items() if rho is not None}
    if not known:
        return f"All {sizes.designs} designs score or cost the same: there is nothing to rank."
    most = max(known, key=lambda name: abs(known[name]))
    if sizes.mostly_size:
        return f"{score} tracks {most} here (rho {known[most]:.2f}): it mostly ranks size."
    rhos = ", ".join(f"{name} {rho:.2f}" for name, rho in known.items())
    return f"rho of {score} over {sizes.designs} designs: {rhos}."


def _audited(audit: Cited) -> str:
    """What an audit says of the score."""
    own = "" if audit.same_budgets else " of the audit"
    where = f"over the sample{own}"
    if audit.setting == "band":
        where = f"inside the budget{own}" if audit.budgets else "in the most expensive quarter"
    interval = ""
    if audit.low is not None and audit.high is not None:
        # Without the minus of what rounds to 0.
        low, high = (round(end, 2) + 0.0 for end in (audit.low, audit.high))
        interval = f" [{low:.2f}, {high:.2f}]"
    noise = ""
    if audit.another_seed is not None:
        noise = f"; one seed against another {audit.another_seed:.2f}"
    return (
        f"{audit.score} was audited on {audit.data} (audit {audit.name}): Kendall's tau with "
        f"trained accuracy {where} {audit.tau:.2f}{interval} over {audit.designs} designs{noise}."
        f"{_draws(audit)}"
    )


def _draws(audit: Cited) -> str:
    """Whether the noise of the score's draw is in the interval, and what one draw is worth."""
    if not is_drawn(audit.score) or audit.score in MEASURED:
        return ""
    if audit.one_draw is None:
        return " One draw of the score: its noise is not in the interval."
    return (
        f" That is of ranks averaged over {audit.draws} draws; one draw, as here, has "
        f"{audit.one_draw:.2f}."
    )


def _sentence(record: RunRecord, one: Difference, evidence: Evidence, word: str) -> str:
    """``+0.41 points over base, 95 % [+0.12, +0.70], 5 paired seeds``, or that it is not told."""
    other = "what was found" if one.against == "found" else LABELS[one.against]
    if one.against == "random":
        scored = record.reference("random") is not None
        other = "the best of random search" if scored else "a random design"
    other = other.replace(" (r16 d4)", "")
    over = f" over {over_text(evidence.over)}" if evidence.over else ""
    interval = f"{evidence.confidence:.0%} [{one.low:+.2f}, {one.high:+.2f}]{over}"
    seeds = count_text(one.seeds, "paired seed")
    if one.distinguished:
        return f"{one.points:+.2f} points {word}{other}, {interval}, {seeds}."
    if one.equivalent and evidence.margin is not None:
        return f"Equivalent to {other} within ±{evidence.margin:g} points: {interval}, {seeds}."
    return f"Not distinguished from {other}: {interval}, {seeds}{_needed(one)}."


def _needed(one: Difference) -> str:
    """``; about 40 to 210 seeds would detect 0.3 points with 80% power``; empty where unknown."""
    most, least = one.seeds_needed, one.seeds_at_least
    if one.detectable is None or (most is not None and most <= one.seeds):
        return ""
    if least is None:  # format 1: of the spread as measured
        return f"; about {most} seeds would tell {one.detectable:g} points" if most else ""
    range_text = f"{least:,} seeds or more" if most is None else f"{least:,} to {most:,} seeds"
    return f"; about {range_text} would detect {one.detectable:g} points with 80% power"


def _go_on(record: RunRecord, place: str) -> str:
    return f"bamsearch search --resume {place} --trials {record.run.trials}"
