"""How long a search would take, from one score or a few steps of a training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bamsearch.cli.search_json import result_budgets
from bamsearch.records import MEASURED
from bamsearch.report.text import count_text, duration_text
from bamsearch.score.scorer import make_scorer
from bamsearch.searching.fitting import smallest
from bamsearch.searching.request import Planned
from bamsearch.text import json_count

# What a trial takes besides its score: the proposal, and writing it down.
_OVERHEAD = 0.02


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a search would take in one process.

    Attributes:
        seconds: in all.
        supernet: of these, for the training of a supernet; None where there is none.
    """

    seconds: float
    supernet: float | None = None


def estimate(planned: Planned) -> Estimate:
    """Score the smallest design once, or time a few steps where the score trains."""
    run = planned.run
    if run.score in MEASURED:
        return _of_trainings(planned)
    score = make_scorer(
        run.score, run.summary, seed=run.seed, num_classes=run.num_classes, device=run.device
    )
    space = planned.space
    design = space.design(space.insertions(smallest(space, run.budgets)))
    start = time.monotonic()
    score(design)
    return Estimate((time.monotonic() - start + _OVERHEAD) * run.scores)


def _of_trainings(planned: Planned) -> Estimate:
    # Only here is torch needed.
    from bamsearch.searching.estimate import design_seconds, supernet_seconds
    from bamsearch.searching.trained import data_of

    run = planned.run
    data = data_of(run)
    if run.trained:
        one = design_seconds(run, planned.feasible, data)
        return Estimate((one + _OVERHEAD) * run.scores)
    training, one = supernet_seconds(run, planned.feasible, data)
    return Estimate(training + (one + _OVERHEAD) * run.scores, training)


def estimate_text(planned: Planned, known: Estimate) -> str:
    """``100 trials and 103 references: about 5 min in one process``."""
    run = planned.run
    others = run.scores - run.trials
    supernet = ""
    if known.supernet is not None:
        supernet = f", {duration_text(known.supernet)} of that to train the supernet"
    return (
        f"{count_text(run.trials, 'trial')} and {count_text(others, 'reference')}: "
        f"about {duration_text(known.seconds)} in one process{supernet}, sampler {run.sampler}"
    )


def estimate_json(planned: Planned, known: Estimate) -> dict[str, Any]:
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
        "estimated_seconds": known.seconds,
        "supernet_seconds": known.supernet,
    }
