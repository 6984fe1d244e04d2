"""Estimates the time of a search from one score or a few training steps."""

from __future__ import annotations

import time
from typing import Any

from bamsearch.cli.text.search_json import result_budgets
from bamsearch.reporting.text import count_text, duration_text
from bamsearch.score.scorer import make_scorer
from bamsearch.space.fitting import smallest
from bamsearch.study.request import SearchPlan
from bamsearch.text import json_count

# Seconds per trial besides its score: proposing and recording it.
_OVERHEAD = 0.02


def estimated_seconds(planned: SearchPlan) -> float:
    """Seconds in one process, from scoring the smallest design or timing a few training steps."""
    run = planned.run
    if run.trained:
        # Imported here, as only this branch needs torch.
        from bamsearch.study.estimate import design_seconds
        from bamsearch.study.train_evaluator import data_of

        return (design_seconds(run, planned.feasible, data_of(run)) + _OVERHEAD) * run.scores
    score = make_scorer(
        run.score, run.summary, seed=run.seed, num_classes=run.num_classes, device=run.device
    )
    space = planned.space
    design = space.design(space.insertions(smallest(space, run.budgets)))
    start = time.monotonic()
    score(design)
    return (time.monotonic() - start + _OVERHEAD) * run.scores


def estimate_text(planned: SearchPlan, seconds: float) -> str:
    """``100 trials and 103 baselines: about 5 min in one process, sampler gp``."""
    run = planned.run
    baselines = run.scores - run.trials
    return (
        f"{count_text(run.trials, 'trial')} and {count_text(baselines, 'baseline')}: "
        f"about {duration_text(seconds)} in one process, sampler {run.sampler}"
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
