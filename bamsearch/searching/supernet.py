"""How a search scores by a supernet: it trains one network for all designs, then asks it for each.

The supernet is in the run's folder. Who goes on with a run goes on with its training; workers read
it from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bamsearch.data.splits import Data
from bamsearch.errors import BamsearchError, RunError
from bamsearch.records import Design, Run
from bamsearch.records.run_files import RUNS
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.scoring import supernet_scorer
from bamsearch.score.supernet.space import Rule, SlotSpace
from bamsearch.score.supernet.train import train_supernet
from bamsearch.score.supernet.trained import Supernet, load_supernet
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import smallest
from bamsearch.searching.jobs import FOLDER_VARIABLE
from bamsearch.searching.loop import Measure, plain
from bamsearch.searching.strata import even_draws
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import Recipe

SUPERNET = "supernet"
"""The folder of the supernet, in that of the run."""

# Another stream than those of the proposals with the same seed.
_DRAWS = 5


class _StoppedError(Exception):
    """The search is to end."""


def plan_of(run: Run, feasible: Feasible) -> SupernetPlan:
    """What the supernet of a run is trained for.

    A step's random designs are drawn evenly over the sets of sites that have BAM: drawn uniformly,
    nearly all would have BAM at nearly every site.

    Args:
        run: with score ``supernet``.
        feasible: what fits.
    """
    space = feasible.space
    draw = even_draws(feasible, np.random.default_rng([run.seed, _DRAWS]))
    nothing = space.picks(())
    least = smallest(space, feasible.budgets) if nothing is None else nothing

    def drawn(numbers: np.random.Generator) -> Design:
        return run.design(space.insertions(draw(numbers)))

    return SupernetPlan(
        slot_space(feasible),
        drawn,
        largest=run.design(space.insertions(feasible.largest())),
        smallest=run.design(space.insertions(least)),
        options=_options(run),
    )


def slot_space(feasible: Feasible) -> SlotSpace:
    """The sites of a space, each with the r and d that some design that fits has there."""
    space = feasible.space
    least = [costs.min(axis=0) for costs in feasible.costs]
    rules: dict[str, Rule] = {}
    for choice, costs, ours in zip(space.choices, feasible.costs, least, strict=True):
        fits = (costs - ours + np.sum(least, axis=0) <= feasible.slacks).all(axis=1)
        there = [o for o, one in zip(choice.options, fits, strict=True) if one and not o.off]
        if there:
            rule = (sorted({o.reduction for o in there}), sorted({o.dilation for o in there}))
            rules |= {site.name: rule for site in choice.sites}
    sites = {site.name: rules[site.name] for site in space.summary.sites if site.name in rules}
    return SlotSpace(space.design(()), sites)


def train_for(
    run: Run,
    feasible: Feasible,
    data: Data,
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    follow: Callable[[Design | None, Progress], None] | None = None,
) -> Supernet | None:
    """Train the supernet of a run, or go on with it; one that is done is read.

    Args:
        run: with score ``supernet``.
        feasible: what fits.
        data: the run's.
        folder: of the run.
        stop: asked between epochs.
        follow: called with None and where the training is, after every few steps.

    Returns:
        The supernet; None where it was stopped before its end, with a checkpoint.

    Raises:
        DivergedError: its loss is no number.
        KeyboardInterrupt: it was interrupted, and has saved.
    """
    recipe = Recipe.from_dict(run.recipe or {})

    def watch(progress: Progress) -> None:
        if follow is not None:
            follow(None, progress)
        # After an epoch a checkpoint has just been written.
        if not progress.step and progress.epoch < recipe.epochs and stop():
            raise _StoppedError

    try:
        return train_supernet(
            plan_of(run, feasible),
            data,
            recipe,
            seed=run.seed,
            device=run.device,
            output=folder / SUPERNET,
            resume=True,
            watch=watch,
        )
    except _StoppedError:
        return None


def load_for(run: Run, feasible: Feasible) -> Supernet:
    """The supernet of a run, for a worker.

    It is in the folder of the search that started the worker, else in ``runs/NAME``.

    Raises:
        RunError: it is not there, not done, or that of another run.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    place = (Path(given) if given else RUNS / run.name) / SUPERNET
    if not place.is_dir():
        raise RunError(
            f"run {run.name} scores by a supernet, which is not here: work where the run's folder "
            f"is, or copy its {SUPERNET}/ to {place}"
        )
    try:
        found = load_supernet(place)
    except BamsearchError as error:
        raise RunError(
            f"the supernet of run {run.name} cannot be asked yet ({error}): the search trains it "
            "first; start workers after that"
        ) from error
    options, recipe = _options(run), Recipe.from_dict(run.recipe or {})
    ours = (slot_space(feasible), options, recipe, run.seed)
    if ours != (found.network.space, found.options, found.recipe, found.seed):
        raise RunError(
            f"{place} is the supernet of another run than {run.name}: copy that of its folder there"
        )
    return found


def _options(run: Run) -> SupernetOptions:
    return SupernetOptions.from_dict(run.supernet or {})


def asker(run: Run, supernet: Supernet, data: Data) -> Measure:
    """Carry trials out by asking a supernet; a design that it does not have is a failed one."""
    return plain(supernet_scorer(supernet, data, device=run.device), run)
