"""What ``bamsearch search`` says: what fits, what was found, and what that is worth."""

from __future__ import annotations

import shlex
from math import floor, log10
from pathlib import Path
from typing import Any

from bamsearch.cli.console import Console
from bamsearch.cli.text import giga, mega, shape_text
from bamsearch.records import (
    Budget,
    Design,
    Insertion,
    Quantity,
    ReferenceKind,
    Run,
    RunRecord,
    Trial,
)
from bamsearch.score.table import SCORES
from bamsearch.searching.budget import amount_text
from bamsearch.searching.measured import conditions_text
from bamsearch.searching.sizes import SizeCorrelation, size_correlation

_SHOWN = 5
# With more sites than this a design is a list of those that have BAM, not a column each.
_COLUMNS = 6

REFERENCES: dict[ReferenceKind, str] = {
    "base": "base",
    "paper": "paper default (r16 d4)",
    "largest": "largest that fits",
    "random": "best of {} random",
}


def title(run: Run) -> str:
    """The first line: ``resnet101 · 3×224×224 · budget 8.000 GFLOPs, base 7.834``."""
    parts = [run.model, shape_text(run.summary.input_shape)]
    parts += [f"budget {budget_text(run, b)}" for b in run.budgets] or ["no budget"]
    return " · ".join(parts)


def budget_text(run: Run, budget: Budget) -> str:
    """``8.000 GFLOPs, base 7.834``; of time, the base as it was measured."""
    base = budget.base
    if budget.quantity == "ms" and run.latency is not None:
        base = round(run.latency["base_ms"] * 1e6)
    return (
        f"{amount_text(budget.quantity, budget.limit)}, base {bare_amount(budget.quantity, base)}"
    )


def bare_amount(quantity: Quantity, amount: int) -> str:
    """The amount without its unit."""
    return amount_text(quantity, amount).split()[0]


def print_result(console: Console, record: RunRecord) -> None:
    """What was found, what it is compared with, and what that is worth."""
    run = record.run
    console.print(f"{title(run)} · score {run.score} · seed {run.seed}")
    console.print(_counts(record) + "\n")
    rows = _ranking_rows(record)
    if not rows:
        console.print("  nothing has a score yet")
        return
    design = _Designs(record)
    header = ["rank", design.header, "score", "GFLOPs", "params"]
    if design.wide:
        console.table(header, rows, "rlrrr")
    else:  # the longest column last
        moved = [[row[0], *row[2:], row[1]] for row in [header, *rows]]
        console.table(moved[0], moved[1:], "rrrrl")
    _print_finalists(console, record, design)
    console.print()
    for line in evidence_lines(record, size_correlation(record)):
        console.print(line)
    front = record.pareto()
    axes = run.objectives if len(run.objectives) > 1 else ("score", "gflops")
    against = ", ".join(_AXES[one] for one in axes[1:])
    console.print(
        f"Pareto    {count_text(len(front), 'design')}, {_AXES[axes[0]]} against {against}"
    )


_AXES = {"score": "score", "gflops": "GFLOPs", "params": "parameters", "ms": "milliseconds"}


def result_json(record: RunRecord) -> dict[str, Any]:
    """What ``search --json`` prints; see the README for its keys."""
    run, best = record.run, record.best
    return {
        "run": run.name,
        "model": run.model,
        "budget": result_budgets(run),
        "designs": run.designs,
        "feasible_designs": run.feasible_designs,
        "exact": run.exact,
        "score": run.score,
        "trials": len(record.complete),
        "failed": len(record.trials) - len(record.complete),
        "infeasible_scored": over_budget(record),
        "best": None if best is None else trial_json(best),
        "references": {
            kind: trial_json(found)
            for kind in REFERENCES
            if (found := record.reference(kind)) is not None
        },
        "pareto": [trial_json(trial) for trial in record.pareto()],
        "size_correlation": {
            "params": (sizes := size_correlation(record)).params,
            "macs": sizes.macs,
            "bams": sizes.bams,
            "designs": sizes.designs,
        },
    }


def result_budgets(run: Run) -> dict[str, int]:
    """Budgets as JSON: multiply-adds, parameters, bytes, nanoseconds."""
    return {budget.quantity: budget.limit for budget in run.budgets}


def trial_json(trial: Trial) -> dict[str, Any]:
    """A trial: its design as {site: [r, d]}, exact integers."""
    return {
        "design": {i.site: [i.reduction, i.dilation] for i in trial.design.insertions},
        "score": trial.score,
        "params": trial.params,
        "macs": trial.macs,
    }


def evidence_lines(record: RunRecord, sizes: SizeCorrelation) -> list[str]:
    """What the scores are worth: one is trained, audited, or neither."""
    run = record.run
    if run.score in SCORES:
        lines = [
            f"EVIDENCE  none: nothing was trained; {run.score} has not been audited in this budget."
        ]
    else:
        lines = [f"EVIDENCE  one value of {run.score} a design: no interval, no repeated seeds."]
    lines.append(f"          {_tracks(run.score, sizes)}")
    base, best = record.reference("base"), record.best
    tied = sum(best is not None and trial.score == best.score for trial in record.ranking())
    if tied > 1:
        lines.append(
            f"          {tied} designs tie for the best score; fewer multiply-adds rank first."
        )
    random = record.reference("random")
    if best is not None and random is not None and (random.score or 0.0) > (best.score or 0.0):
        lines.append(
            "          Random search of the same length scored higher here: give more --trials."
        )
    if best is not None and not best.design.insertions:
        lines.append("          No design scores better than the base network.")
    elif base is not None and record.base_may_win is False:
        lines.append(
            "          The base is shown, not ranked: such a score grows with the network."
        )
    return lines


def _tracks(score: str, sizes: SizeCorrelation) -> str:
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


def over_budget(record: RunRecord) -> int:
    """How many scored designs cost more than a budget allows: 0, counted and not assumed."""

    def over(trial: Trial) -> bool:
        ns = None if trial.ms is None else round(trial.ms * 1e6)
        taken = {"gflops": trial.macs, "params": trial.params, "memory": trial.memory, "ms": ns}
        return any((taken[b.quantity] or 0) > b.limit for b in record.run.budgets)

    return sum(over(trial) for trial in record.trials)


def next_steps(record: RunRecord, folder: Path) -> dict[str, str]:
    """What to type after a search."""
    run = record.run
    name = shlex.quote(str(folder) if folder.parent != Path("runs") else folder.name)
    steps = {"use": f'model = bamsearch.load("{folder}")'}
    if record.best is not None:
        model = shlex.quote(run.model)
        steps["time"] = f"bamsearch profile {model} {shlex.quote(str(folder))}"
    if len(record.trials) < run.feasible_designs - 1:
        more = run.trials if len(record.trials) < run.trials else 2 * run.trials
        steps["go on"] = f"bamsearch search --resume {name} --trials {more}"
    return steps


def design_text(design: Design) -> str:
    """``layer1 r16 d4, layer3 r8 d2``, or ``no BAM``."""
    return ", ".join(f"{i.site} {option_text(i)}" for i in design.insertions) or "no BAM"


def option_text(insertion: Insertion | None) -> str:
    """``r16 d4``; a dash for nothing."""
    return "–" if insertion is None else f"r{insertion.reduction} d{insertion.dilation}"


def score_text(score: float | None) -> str:
    """A score with five significant digits, thousands in full."""
    if score is None:
        return "failed"
    if score == 0:
        return "0"
    digits = floor(log10(abs(score)))
    if digits >= 7 or digits < -4:
        return f"{score:.4e}"
    return f"{score:,.{max(0, 4 - digits)}f}"


def number_text(number: int) -> str:
    """A count: in full to 10^9, else its size: ``1.2e+40``."""
    return f"{number:,}" if number < 10**9 else f"{float(number):.1e}"


def count_text(number: int, what: str) -> str:
    """``1 site``, ``4 sites``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """``6 min 12 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Designs:
    """Designs as cells of one column: a field for each site where they are few."""

    def __init__(self, record: RunRecord) -> None:
        trials = [*record.ranking()[:_SHOWN], *(t for _, t in record.references)]
        used = {i.site for trial in trials for i in trial.design.insertions}
        self._sites = [site.name for site in record.run.summary.sites if site.name in used]
        self.wide = len(self._sites) <= _COLUMNS
        self._width = {name: max(len(name), 6) for name in self._sites}

    @property
    def header(self) -> str:
        if not self.wide:
            return "design"
        return "  ".join(f"{name:{self._width[name]}}" for name in self._sites)

    def cell(self, design: Design) -> str:
        if not self.wide:
            return design_text(design)
        there = {i.site: i for i in design.insertions}
        return "  ".join(
            f"{option_text(there.get(name)):{self._width[name]}}" for name in self._sites
        )


def _counts(record: RunRecord) -> str:
    run = record.run
    fit = f"{number_text(run.feasible_designs)} of {number_text(run.designs)} designs fit"
    scored = f"{len(record.complete):,} scored"
    failed = len(record.trials) - len(record.complete)
    about = "exact" if run.exact else "estimate"
    return f"{fit} ({about}) · {scored} · {over_budget(record)} over budget · {failed} failed"


def _ranking_rows(record: RunRecord) -> list[list[str]]:
    design = _Designs(record)
    ranking = record.ranking()
    rows = [
        [str(rank), design.cell(trial.design), *_numbers(trial)]
        for rank, trial in enumerate(ranking[:_SHOWN], start=1)
    ]
    random = sum(kind == "random" for kind, _ in record.references)
    compared = [
        ["", name.format(random), *_numbers(found)]
        for kind, name in REFERENCES.items()
        if (found := record.reference(kind)) is not None
    ]
    if compared:
        rows += [["", "for comparison", "", "", ""], *compared]
    return rows


def _numbers(trial: Trial) -> list[str]:
    return [score_text(trial.score), giga(trial.macs), mega(trial.params)]


def _print_finalists(console: Console, record: RunRecord, design: _Designs) -> None:
    if not record.finalists:
        return
    run = record.run
    limit = next(b for b in run.budgets if b.quantity == "ms")
    console.print(
        f"\n  timed against the base on {conditions_text(run)}, budget {budget_text(run, limit)}"
    )
    rows = [
        [
            design.cell(one.design),
            f"{one.ms:.3f} ms",
            f"[{one.low:.3f}, {one.high:.3f}]",
            "kept" if one.kept else "over the budget: out of the ranking",
        ]
        for one in record.finalists
    ]
    console.table([design.header, "measured", "95 %", ""], rows, "lrrl")
