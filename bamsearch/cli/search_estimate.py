"""How long a search would take, from one score or a few steps of a training."""

from __future__ import annotations

import time
from typing import Any

from bamsearch.cli.search_json import result_budgets
from bamsearch.report.text import count_text, duration_text
from bamsearch.score.scorer import make_scorer
from bamsearch.searching.fitting import smallest
from bamsearch.searching.request import Planned
from bamsearch.text import json_count

# What a trial takes besides its score: the proposal, and writing it down.
_OVERHEAD = 0.02


def estimated_seconds(planned: Planned) -> float:
    """Seconds in one process: the smallest design is scored once, or a few steps are timed."""
    run = planned.run
    if run.trained:
        # Only here is torch needed.
        from bamsearch.searching.estimate import design_seconds
        from bamsearch.searching.trained import data_of

        return (design_seconds(run, planned.feasible, data_of(run)) + _OVERHEAD) * run.scores
    score = make_scorer(
        run.score, run.summary, seed=run.seed, num_classes=run.num_classes, device=run.device
    )
    space = planned.space
    design = space.design(space.insertions(smallest(space, run.budgets)))
    start = time.monotonic()
    score(design)
    return (time.monotonic() - start + _OVERHEAD) * run.scores


def estimate_text(planned: Planned, seconds: float) -> str:
    """``100 trials and 103 references: about 5 min in one process``."""
    run = planned.run
    others = run.scores - run.trials
    return (
        f"{count_text(run.trials, 'trial')} and {count_text(others, 'reference')}: "
        f"about {duration_text(seconds)} in one process, sampler {run.sampler}"
    )


def estimate_json(planned: Planned, seconds: float) -> dict[str, Any]:
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
