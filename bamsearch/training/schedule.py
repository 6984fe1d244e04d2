"""Learning rate schedules."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    SequentialLR,
)

from bamsearch.training.recipe import Recipe

_WARMUP_START = 0.01
"""Initial share of the learning rate in warm-up."""


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """A torch scheduler, to be stepped after every optimizer step.

    Args:
        optimizer: the optimizer, whose groups have their maximum learning rates.
        recipe: schedule, milestones, warm-up and epochs.
        steps: number of steps per epoch.
    """
    total = recipe.epochs * steps
    # At least one step remains for the schedule itself.
    warmup = min(round(recipe.warmup * steps), total - 1)
    main: LRScheduler
    if recipe.schedule == "step":
        # Counted from the end of the warm-up, when this scheduler starts.
        drops = [max(milestone * steps - warmup, 0) for milestone in recipe.milestones]
        main = MultiStepLR(optimizer, drops, gamma=0.1)
    else:
        main = CosineAnnealingLR(optimizer, T_max=total - warmup)
    if not warmup:
        return main
    rise = LinearLR(optimizer, start_factor=_WARMUP_START, total_iters=warmup)
    return SequentialLR(optimizer, [rise, main], milestones=[warmup])
