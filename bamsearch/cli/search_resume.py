"""A run that goes on is the run that it was: what else is typed must not differ."""

from __future__ import annotations

import json
from typing import Any

import click
from click.core import ParameterSource

from bamsearch.errors import RunError
from bamsearch.records import DataFacts, Run, ValueRange, value_range_text
from bamsearch.searching.request import Request

_COMPARED = ("score", "objectives", "seed", "with_stem", "num_classes", "variant", "init")


def check_same(ctx: click.Context, run: Run, request: Request, model: str | None) -> None:
    """Raise RunError where what was typed is not what the run was asked for.

    Args:
        ctx: of the command: what was typed counts, defaults do not.
        run: the run.
        request: what was typed, with the defaults.
        model: the MODEL, if it was typed.
    """
    if model is not None and model != run.model:
        raise _differs(run, "MODEL", model, run.model)
    asked: dict[str, tuple[Any, Any]] = {
        name: (getattr(request, name), getattr(run, name)) for name in _COMPARED
    }
    asked["space"] = _space_texts(request.space, run)
    asked["sampler"] = (request.sampler, run.sampler)
    asked["input_size"] = (request.input_size, run.summary.input_shape[-2:])
    asked["compare_random"] = (request.compare_random, run.compare_random)
    asked["data"] = _data_texts(request.data, run.data)
    texts = {budget.quantity: budget.text for budget in run.budgets}
    for quantity in ("gflops", "params", "memory", "ms"):
        asked[f"budget_{quantity}"] = (
            request.budgets.get(quantity),
            texts.get(quantity, "none"),
        )
    recipe, there_recipe = request.recipe, run.recipe or {}
    if recipe is not None:
        for name, value in (("recipe", recipe.name), ("epochs", recipe.epochs)):
            asked[name] = (value, there_recipe.get({"recipe": "name"}.get(name, name), "none"))
    for name, (given, there) in asked.items():
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if typed and given != there:
            raise _differs(run, f"--{name.replace('_', '-')}", given, there)


def recorded_range(run: str) -> ValueRange | None:
    """The value range of a run's data; None without one, or where no folder has the run."""
    from bamsearch.searching.folder import find_folder

    try:
        data = find_folder(run).read_run().data
    except RunError:  # reported when the run is read
        return None
    return None if data is None else data.value_range


def _space_texts(typed: str, run: Run) -> tuple[str, str]:
    """Two texts, equal where the content of the spaces is."""
    from bamsearch.searching.space import read_space

    given, there = read_space(typed).to_dict(), dict(run.space)
    if json.dumps(given, sort_keys=True) == json.dumps(there, sort_keys=True):
        return typed, typed
    other = " with other content" if given["name"] == there["name"] else ""
    return typed, f"{there['name']}{other}"


def _data_texts(given: DataFacts | None, there: DataFacts | None) -> tuple[str, str]:
    """Two texts, equal where the data are, whatever folder they are in."""
    if given is not None and there is not None:
        # Here, as it loads torch.
        from bamsearch.data.loading import same_data

        same = given.input_shape == there.input_shape and same_data(given, there)
        given = there if same else given
    return _data_text(given), _data_text(there)


def _data_text(facts: DataFacts | None) -> str:
    if facts is None:
        return "none"
    values = "" if facts.value_range is None else f", values {value_range_text(facts.value_range)}"
    return f"{facts.name} ({'x'.join(map(str, facts.input_shape))}, {facts.hash}{values})"


def _differs(run: Run, what: str, given: Any, there: Any) -> RunError:
    def text(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return RunError(
        f"run {run.name} has {what} {text(there)}, not {text(given)}: leave it out, "
        "or start a new run without --resume"
    )
