"""Estimates the duration of a search from one score, or from a few timed training steps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bamsearch.space.feasible import smallest
from bamsearch.study.request import SearchPlan
from bamsearch.study.run import SearchOptions, scorer_of

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.data.splits import Data

# Seconds per trial besides its score: proposing and recording it.
_OVERHEAD = 0.02


def estimated_seconds(planned: SearchPlan, options: SearchOptions) -> float:
    """Seconds of a search in one process."""
    run, space = planned.run, planned.space
    if run.trained:
        # Imported here, as only this branch needs torch.
        from bamsearch.study.train_evaluator import data_of

        data = options.data or data_of(run)
        return (design_seconds(planned, data, options.module) + _OVERHEAD) * run.scores
    score = scorer_of(run, options)
    design = space.design(space.insertions(smallest(space, run.budgets)))
    start = time.monotonic()
    score(design)
    return (time.monotonic() - start + _OVERHEAD) * run.scores


def design_seconds(planned: SearchPlan, data: Data, module: nn.Module | None = None) -> float:
    """Seconds of one full training: the mean of a small and a large design."""
    from bamsearch.graph.base import Base
    from bamsearch.training.initial_model import build_initial_model, with_bam
    from bamsearch.training.recipe import Recipe
    from bamsearch.training.timing import step_seconds, training_seconds
    from bamsearch.training.trainer import Training

    run, space, feasible = planned.run, planned.space, planned.feasible
    recipe = Recipe.from_dict(run.recipe or {})
    ends = [smallest(space, feasible.budgets), feasible.largest()]
    base, seconds = None, 0.0
    if module is not None:
        base = Base(module, run.summary.input_shape, known_sites=run.summary.sites)
    for design in (run.design(space.insertions(encoding)) for encoding in ends):
        if base is None:
            initial = build_initial_model(design, data, seed=run.seed)
        else:
            initial = with_bam(base, design, data, run.seed)
        seconds += step_seconds(Training(initial, data, recipe, device=run.device), run.threads)
    return training_seconds(seconds / len(ends), data, recipe)
