"""The answer to "does it help?": training evidence, otherwise what the scores are worth."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from bamsearch.records import MEASURED, Cited, Difference, Evidence, Over, RunRecord
from bamsearch.records import Verdict as Shown
from bamsearch.reporting.comparison import SHORT_LABELS
from bamsearch.reporting.run_statistics import SizeCorrelation
from bamsearch.reporting.text import count_text, design_text, interval_text, over_text
from bamsearch.score.table import COSTS, DEFAULT_REASON, DEFAULT_SCORE, SCORES, is_drawn

SHARED_SEEDS = (
    "Trained with seeds that the search used: the difference is probably too high; verify again."
)

OVER: dict[Over, str] = {
    "seeds": "Intervals cover seeds, on these test images only: they are too narrow for other "
    "images; verify --over images widens them.",
    "images": "Intervals cover seeds and images: they hold for other images like these.",
}

AnswerVerdict = Shown | Literal["unknown"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to "does it help?", if it is known.

    Attributes:
        verdict: best design against the base; ``unknown`` if nothing was trained.
        headline: the answer in one line.
        remarks: grounds of the answer, one line each.
        next_step: command that tells more.
        warnings: the remarks that must accompany the headline wherever it is shown.
    """

    verdict: AnswerVerdict
    headline: str
    remarks: tuple[str, ...]
    next_step: str
    warnings: tuple[str, ...] = ()


def answer(record: RunRecord, sizes: SizeCorrelation, name: str) -> Answer:
    """The answer for a run.

    Args:
        record: the run.
        sizes: correlations of its score with size.
        name: name or folder of the run.
    """
    remarks = tuple(_score_remarks(record, sizes))
    next_step = verify_line(record, name)
    evidence = record.shown_evidence
    if record.best is None:
        return Answer(
            "unknown",
            "Not known: nothing has a score yet.",
            (),
            f"bamsearch search --resume {name} --trials {record.run.trials}",
        )
    if evidence is None and record.evidence is not None:
        headline = "Not known: the best design is no longer the one that was trained."
        return Answer("unknown", headline, remarks, next_step)
    if evidence is None or not evidence.differences:
        headline = "Not known: scores only, no training evidence."
        if record.run.score == "train":
            headline = "Not known: short trainings on validation images only, no test result."
        return Answer("unknown", headline, remarks, next_step)
    first, *rest = evidence.differences
    headline = _sentence(record, first, evidence, "over " if first.points >= 0 else "under ")
    lines = tuple(_sentence(record, difference, evidence, "against ") for difference in rest)
    data = f"Trained on {evidence.data}; all intervals hold together at {evidence.confidence:.0%}."
    over = () if evidence.over is None else (OVER[evidence.over],)
    warnings = (SHARED_SEEDS,) if record.shares_seeds else ()
    if evidence.exploratory:
        headline, warnings = f"Exploratory: {headline}", (evidence.exploratory, *warnings)
    lines = (*warnings, *lines, data, *over, *evidence.remarks, *remarks)
    return Answer(first.verdict, headline, lines, evidence.command, warnings)


def verify_line(record: RunRecord, name: str) -> str:
    """The command that estimates the cost of training the best design of the run ``name``."""
    data = "NAME" if record.run.data is None else record.run.data.name
    return shlex.join(["bamsearch", "verify", name, "--data", data, "--dry-run"])


def _score_remarks(record: RunRecord, sizes: SizeCorrelation) -> list[str]:
    """Remarks on what the scores are worth: trained, audited, or neither."""
    run, best = record.run, record.best
    lines = _evidence_remarks(record)
    if run.score in COSTS:
        more = "--data NAME" if run.data is None else "--score train"
        first = ", with d=4 first" if run.sampler == "sorted" else ""
        lines.append(
            f"{run.score} {SCORES[run.score].failure}. It needs no search; designs that differ "
            f"only in d tie{first}. Train to learn more: {more}."
        )
    else:
        lines.append(tracks("accuracy" if run.score in MEASURED else run.score, sizes))
    if best is None:
        return lines
    tied = sum(trial.score == best.score for trial in record.ranking())
    if tied > 1:
        lines.append(f"{tied} designs tie for the best score; fewer multiply-adds rank first.")
    random = record.baseline("random")
    if random is not None and (random.score or 0.0) > (best.score or 0.0):
        lines.append("Random search with as many trials scored higher here: give more --trials.")
    if not best.design.insertions:
        lines.append("No design scores higher than the base network.")
    elif record.baseline("base") is not None and not record.base_may_win:
        lines.append("The base is shown but not ranked: this score grows with network size.")
    return lines


def _evidence_remarks(record: RunRecord) -> list[str]:
    """Remarks on the evidence behind the scores; empty if the best design was trained."""
    run = record.run
    if record.shown_evidence is not None:
        return []
    if run.score == "train":
        return _trained_remarks(record)
    if run.score == "supernet":
        return [
            "Accuracies are those of one weight-sharing supernet on the validation images: only an "
            "audit shows how well they rank designs."
        ]
    if run.audit is not None and run.audit.score == run.score:
        return [f"Nothing was trained; {_audited(run.audit)}"]
    if run.score in SCORES:
        reason = f"; {DEFAULT_REASON}" if run.score == DEFAULT_SCORE else ""
        return [f"Nothing was trained; {run.score} has not been audited in this budget{reason}."]
    return [f"One value of {run.score} per design: no interval, no repeated seeds."]


def _trained_remarks(record: RunRecord) -> list[str]:
    """Remarks on score ``train``: the expected gain over the base and its interval."""
    lines = [
        "Each accuracy is estimated from short trainings on the validation images; it is not a "
        "test result. Run verify for one."
    ]
    best, analysis = record.best, record.analysis
    if best is None or analysis is None or analysis.gain is None:
        return lines
    first, gain = analysis.ranking[0].insertions, analysis.gain
    subject = "the best design"
    if first != best.design.insertions:
        design = design_text(record.run.design(first))
        subject = f"{design}, a baseline that no searched design beats"
    caveat = "" if gain.low > 0 or gain.high < 0 else ", not distinguishable from 0"
    lines.append(
        f"Expected gain of {subject}: {gain.points:+.2f} points over base, "
        f"{analysis.confidence:.0%} {interval_text(gain.low, gain.high, '+.2f')}{caveat}."
    )
    return lines


def tracks(score: str, sizes: SizeCorrelation) -> str:
    """The correlation of a score with size over all scored designs, as a sentence."""
    named = {
        "parameter count": sizes.params,
        "multiply-adds": sizes.macs,
        "number of BAMs": sizes.bams,
    }
    correlations = {name: rho for name, rho in named.items() if rho is not None}
    if not correlations:
        return f"All {sizes.designs} designs have the same score or cost: there is nothing to rank."
    most = max(correlations, key=lambda name: abs(correlations[name]))
    if sizes.mostly_size:
        return f"{score} tracks {most} here (rho {correlations[most]:.2f}): it mostly ranks size."
    rhos = ", ".join(f"{name} {rho:.2f}" for name, rho in correlations.items())
    return f"rho of {score} over {sizes.designs} designs: {rhos}."


def _audited(audit: Cited) -> str:
    """The result of an audit for the score, as a sentence."""
    suffix = "" if audit.same_budgets else " of the audit"
    where = f"over the sample{suffix}"
    if audit.setting == "band":
        where = f"inside the budget{suffix}" if audit.budgets else "in the most expensive quarter"
    interval = ""
    if audit.low is not None and audit.high is not None:
        interval = f" {interval_text(audit.low, audit.high, 'z.2f')}"
    noise = ""
    if audit.another_seed is not None:
        noise = f"; between two seeds {audit.another_seed:.2f}"
    return (
        f"{audit.score} was audited on {audit.data} (audit {audit.name}): Kendall's tau with "
        f"trained accuracy {where} is {audit.tau:.2f}{interval} over {audit.designs} "
        f"designs{noise}.{_draws(audit)}"
    )


def _draws(audit: Cited) -> str:
    """Whether the interval includes the noise of the score's draw, and the tau of one draw."""
    if not is_drawn(audit.score) or audit.score in MEASURED:
        return ""
    if audit.one_draw is None:
        return " The score was drawn once: the interval does not include the noise of the draw."
    return (
        f" Its ranks were averaged over {audit.draws} draws; a single draw, as used here, has "
        f"{audit.one_draw:.2f}."
    )


def _sentence(record: RunRecord, difference: Difference, evidence: Evidence, word: str) -> str:
    """The difference with its interval: ``+0.41 points over base, 95% [+0.12, +0.70], ...``."""
    other = SHORT_LABELS[difference.against]
    if difference.against == "found":
        other = f"the {other}"
    if difference.against == "random":
        scored = record.baseline("random") is not None
        other = "the best of random search" if scored else "a random design"
    over = f" over {over_text(evidence.over)}" if evidence.over else ""
    interval = interval_text(difference.low, difference.high, "+.2f")
    interval = f"{evidence.confidence:.0%} {interval}{over}"
    seeds = count_text(difference.seeds, "paired seed")
    if difference.distinguished:
        return f"{difference.points:+.2f} points {word}{other}, {interval}, {seeds}."
    if difference.equivalent and evidence.margin is not None:
        return f"Equivalent to {other} within ±{evidence.margin:g} points: {interval}, {seeds}."
    return f"Not distinguishable from {other}: {interval}, {seeds}{_needed(difference)}."


def _needed(difference: Difference) -> str:
    """``; about 40 to 210 seeds would detect 0.3 points with 80% power``; empty if unknown."""
    most, least = difference.seeds_needed, difference.seeds_at_least
    if difference.detectable is None or (most is not None and most <= difference.seeds):
        return ""
    if least is None:  # format 1 has the number for the measured spread only
        return f"; about {most} seeds would detect {difference.detectable:g} points" if most else ""
    range_text = f"{least:,} seeds or more" if most is None else f"{least:,} to {most:,} seeds"
    return f"; about {range_text} would detect {difference.detectable:g} points with 80% power"
