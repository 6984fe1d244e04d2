"""The plan of a search: feasible designs, and the estimated duration."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bamsearch.cli.layout import table_text
from bamsearch.cli.text.search import result_budgets
from bamsearch.errors import NoSiteError
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import Insertion, Quantity
from bamsearch.reporting import text
from bamsearch.reporting.comparison import LABELS
from bamsearch.space.choices import SearchSpace
from bamsearch.space.feasible import smallest
from bamsearch.study.request import SearchPlan
from bamsearch.text import json_count, number_text


def feasibility_text(planned: SearchPlan) -> str:
    """The search space, its landmark designs and the number of feasible designs, as text."""
    run, feasible, space = planned.run, planned.feasible, planned.space
    limits = {b.quantity: text.bare_amount(b.quantity, b.limit) for b in run.budgets}
    extra = [b.quantity for b in run.budgets if b.quantity in ("memory", "ms")]
    rows = [
        [
            "budget",
            limits.get("gflops", "–"),
            f"{limits['params']} M" if "params" in limits else "–",
            *(limits[quantity] for quantity in extra),
            "",
        ]
    ]
    rows += [_feasibility_row(planned, name, design) for name, design in _landmarks(planned)]
    header = ["", "GFLOPs", "params", *({"memory": "MiB", "ms": "ms"}[q] for q in extra), ""]
    sites = sum(len(choice.sites) for choice in space.choices)
    about = "exact" if feasible.exact else "an estimate"
    lines = [
        f"{text.title(run)}\nspace {space.name}: {text.count_text(sites, 'site')}, "
        f"r and d of {_options_text(space)}\n",
        table_text(header, rows, "l" + "r" * (len(header) - 2) + "l"),
        f"\n  {number_text(feasible.count)} of {number_text(feasible.designs)} designs fit "
        f"({about})",
    ]
    if run.latency is not None:
        lines.append(
            f"  latency on {text.conditions_text(run)}: predicted, plus "
            f"{run.latency['worst_error']:.1%}, the worst error of the latency table on whole "
            "designs"
        )
    return "\n".join(lines)


def estimate_text(planned: SearchPlan, seconds: float) -> str:
    """``100 trials and 103 baselines: about 5 min in one process, sampler gp``."""
    run = planned.run
    baselines = run.scores - run.trials
    return (
        f"{text.count_text(run.trials, 'trial')} and {text.count_text(baselines, 'baseline')}: "
        f"about {text.duration_text(seconds)} in one process, sampler {run.sampler}"
    )


def estimate_json(planned: SearchPlan, seconds: float) -> dict[str, Any]:
    """What ``search --dry-run --json`` prints."""
    run = planned.run
    return {
        "model": run.model,
        "budget": result_budgets(run),
        "designs": json_count(run.designs),
        "feasible_designs": json_count(run.feasible_designs),
        "exact": run.exact,
        "sampler": run.sampler,
        "trials": run.trials,
        "references": run.scores - run.trials,
        "estimated_seconds": seconds,
    }


def _landmarks(planned: SearchPlan) -> list[tuple[str, Sequence[Insertion]]]:
    """Base, smallest, paper default and largest design, for comparison with the budgets."""
    space, sites = planned.space, planned.run.summary.sites
    landmarks: list[tuple[str, Sequence[Insertion]]] = [("base", ())]
    landmarks.append(("smallest with BAM", space.insertions(smallest(space, planned.run.budgets))))
    with suppress(NoSiteError):
        landmarks.append((LABELS["paper"], plan_insertions(sites)))
    landmarks.append((LABELS["largest"], space.insertions(planned.feasible.largest())))
    landmarks.append(("largest of all", space.insertions(space.largest())))
    return landmarks


def _feasibility_row(planned: SearchPlan, name: str, insertions: Sequence[Insertion]) -> list[str]:
    run, space = planned.run, planned.space
    cost = DesignCosts(run.summary, variant=run.variant, init=run.init).cost(insertions)
    taken: dict[str, int | None] = {"gflops": cost.macs, "params": cost.params}
    encoding = space.encoding(insertions)
    measured: dict[Quantity, int] = {"memory": space.memory, "ms": space.ns}
    for quantity, base in measured.items():
        # Only the base and designs of the space were measured.
        taken[quantity] = base if not insertions else None
        if insertions and encoding is not None:
            taken[quantity] = base + space.added(encoding, quantity)
    fits = all(b.admits(taken[b.quantity] or 0) for b in run.budgets)
    extra = [
        "–" if (amount := taken[b.quantity]) is None else text.bare_amount(b.quantity, amount)
        for b in run.budgets
        if b.quantity in ("memory", "ms")
    ]
    return [name, text.giga(cost.macs), text.mega(cost.params), *extra, "fits" if fits else "over"]


def _options_text(space: SearchSpace) -> str:
    rs = sorted({o.reduction for c in space.choices for o in c.options} - {0})
    ds = sorted({o.dilation for c in space.choices for o in c.options} - {0})
    return f"{', '.join(map(str, rs))} and {', '.join(map(str, ds))}"
