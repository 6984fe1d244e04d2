"""Resumes a run: the options of a repeated search must agree with those of the run."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import get_args

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.profiling.summary import summarise
from bamsearch.records import DataFacts, Quantity, Run, value_range_text
from bamsearch.records.comparison import first_difference
from bamsearch.records.sources import user_code
from bamsearch.space.space import read_space
from bamsearch.study.request import ANEW, SearchPlan, SearchRequest, check_until
from bamsearch.text import size_text

_NAMED = (
    *("score", "objectives", "sampler", "compare_random"),
    *("seed", "with_stem", "num_classes", "variant", "init"),
)
_VOLATILE = (
    *("name", "storage", "command", "versions", "git_commit", "created", "audit", "started_in"),
    # Measured times differ each time.
    *("added", "latency", "heartbeat"),
)
"""Fields in which two runs of the same search may differ."""


def check_options(run: Run, request: SearchRequest, stated: Collection[str]) -> None:
    """Raise RunError if an option that the caller stated differs from the run."""
    texts = {budget.quantity: budget.text for budget in run.budgets}
    recipe, recorded_recipe = request.recipe, run.recipe or {}
    recorded: dict[str, object] = {"model": run.model}
    recorded |= {name: getattr(run, name) for name in _NAMED}
    recorded |= {f"budget_{quantity}": texts.get(quantity) for quantity in get_args(Quantity)}
    recorded |= {"input_size": run.summary.input_shape[-2:], "recipe": recorded_recipe.get("name")}
    recorded |= {"epochs": recorded_recipe.get("epochs")}
    requested: dict[str, object] = {"model": request.model}
    requested |= {name: getattr(request, name) for name in (*_NAMED, "input_size")}
    requested |= {
        f"budget_{quantity}": request.budgets.get(quantity) for quantity in get_args(Quantity)
    }
    if recipe is not None:
        requested |= {"recipe": recipe.name, "epochs": recipe.epochs}
    requested["space"], recorded["space"] = _space_texts(request.space, run)
    requested["data"], recorded["data"] = _data_texts(request.data, run.data)
    difference = first_difference(recorded, requested, ignoring=recorded.keys() - stated)
    if difference is not None:
        option = "MODEL" if difference.name == "model" else f"`{difference.name}`"
        raise RunError(
            f"run {run.name} has {option} {difference.stored}, not {difference.requested}: "
            "leave it out, or start a new run without `resume`"
        )


def same_search(planned: Run, recorded: Run) -> bool:
    """Whether two runs have the same options, ignoring names, versions and measured times."""
    return first_difference(recorded, planned, ignoring=_VOLATILE) is None


def check_base(run: Run) -> None:
    """Count the base of a run again if it is user code, whose imports may have changed.

    Raises:
        RunError: the network differs from that of the run.
        ModelError: the network cannot be built.
    """
    if "model" not in run.sources or user_code(run.model) is None:
        return
    was = run.summary
    now = summarise(run.model, was.input_shape[-2:], run.num_classes)
    if (now.base, now.sites) != (was.base, was.sites):
        raise RunError(
            f"model {run.model} has changed since run {run.name} started: it had "
            f"{was.base.params:,} parameters and {was.base.macs:,} MACs, and now has "
            f"{now.base.params:,} and {now.base.macs:,}; {ANEW}"
        )


def with_trials(planned: SearchPlan, trials: int | None, until: float | None = None) -> SearchPlan:
    """A recorded run with a new total number of trials or a new ``until``; None keeps either.

    Raises:
        InvalidValueError: fewer trials than before, or ``until`` for a run that does not train.
    """
    run = planned.run
    check_until(until, run.score)
    trials = run.trials if trials is None else trials
    if trials < run.trials:
        raise InvalidValueError(
            f"`trials={trials}` is below the {run.trials} trials of run {run.name}: give the total"
        )
    if trials > run.trials and not run.repeats:
        # A deterministic score has one trial per feasible design; the base is a baseline.
        base = planned.space.encoding(())
        trials = min(trials, planned.feasible.count - (base is not None))
    until = run.until if until is None else until
    return replace(planned, run=replace(run, trials=trials, until=until))


def _space_texts(requested: str, run: Run) -> tuple[str, str]:
    """Two texts, equal if the spaces have the same content."""
    space, recorded = read_space(requested).to_dict(), dict(run.space)
    if json.dumps(space, sort_keys=True) == json.dumps(recorded, sort_keys=True):
        return requested, requested
    other = " with other content" if space["name"] == recorded["name"] else ""
    return requested, f"{recorded['name']}{other}"


def _data_texts(requested: DataFacts | None, recorded: DataFacts | None) -> tuple[str, str]:
    """Two texts, equal if the data are the same, whatever their folders."""
    if requested is not None and recorded is not None:
        # Imported here, as it loads torch.
        from bamsearch.data.loading import same_data

        same = requested.input_shape == recorded.input_shape and same_data(requested, recorded)
        requested = recorded if same else requested
    return _data_text(requested), _data_text(recorded)


def _data_text(facts: DataFacts | None) -> str:
    if facts is None:
        return "none"
    values = "" if facts.value_range is None else f", values {value_range_text(facts.value_range)}"
    return f"{facts.name} ({size_text(facts.input_shape)}, {facts.hash}{values})"
