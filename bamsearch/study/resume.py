"""Checks that the options of a resumed run agree with its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bamsearch.errors import RunError
from bamsearch.records import DataFacts, Run, ValueRange, value_range_text
from bamsearch.study.request import SearchRequest

_COMPARED = ("score", "objectives", "seed", "with_stem", "num_classes", "variant", "init")


def check_same(
    run: Run, request: SearchRequest, model: str | None, typed: Callable[[str], bool]
) -> None:
    """Raise RunError if an option that the user gave differs from the run.

    Args:
        run: recorded run.
        request: options, including defaults.
        model: MODEL that the user gave, if any.
        typed: whether the user gave an option, by its name.
    """
    if model is not None and model != run.model:
        raise _differs(run, "MODEL", model, run.model)
    compared: dict[str, tuple[Any, Any]] = {
        name: (getattr(request, name), getattr(run, name)) for name in _COMPARED
    }
    compared["space"] = _space_texts(request.space, run)
    compared["sampler"] = (request.sampler, run.sampler)
    compared["input_size"] = (request.input_size, run.summary.input_shape[-2:])
    compared["compare_random"] = (request.compare_random, run.compare_random)
    compared["data"] = _data_texts(request.data, run.data)
    texts = {budget.quantity: budget.text for budget in run.budgets}
    for quantity in ("gflops", "params", "memory", "ms"):
        compared[f"budget_{quantity}"] = (
            request.budgets.get(quantity),
            texts.get(quantity, "none"),
        )
    recipe, recorded_recipe = request.recipe, run.recipe or {}
    if recipe is not None:
        for name, value in (("recipe", recipe.name), ("epochs", recipe.epochs)):
            compared[name] = (
                value,
                recorded_recipe.get({"recipe": "name"}.get(name, name), "none"),
            )
    for name, (typed_value, recorded) in compared.items():
        if typed(name) and typed_value != recorded:
            raise _differs(run, f"`{name}`", typed_value, recorded)


def recorded_range(run: str) -> ValueRange | None:
    """The value range of a run's data; None without a value range or without a run folder."""
    from bamsearch.study.folder import find_folder

    try:
        data = find_folder(run).read_run().data
    except RunError:  # reported later, when the run is read
        return None
    return None if data is None else data.value_range


def _space_texts(typed: str, run: Run) -> tuple[str, str]:
    """Two texts, equal if the spaces have the same content."""
    from bamsearch.space.space import read_space

    typed_space, recorded = read_space(typed).to_dict(), dict(run.space)
    if json.dumps(typed_space, sort_keys=True) == json.dumps(recorded, sort_keys=True):
        return typed, typed
    other = " with other content" if typed_space["name"] == recorded["name"] else ""
    return typed, f"{recorded['name']}{other}"


def _data_texts(typed: DataFacts | None, recorded: DataFacts | None) -> tuple[str, str]:
    """Two texts, equal if the data are the same, whatever their folders."""
    if typed is not None and recorded is not None:
        # Imported here, as it loads torch.
        from bamsearch.data.loading import same_data

        same = typed.input_shape == recorded.input_shape and same_data(typed, recorded)
        typed = recorded if same else typed
    return _data_text(typed), _data_text(recorded)


def _data_text(facts: DataFacts | None) -> str:
    if facts is None:
        return "none"
    values = "" if facts.value_range is None else f", values {value_range_text(facts.value_range)}"
    return f"{facts.name} ({'x'.join(map(str, facts.input_shape))}, {facts.hash}{values})"


def _differs(run: Run, option: str, typed: Any, recorded: Any) -> RunError:
    def text(value: Any) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return RunError(
        f"run {run.name} has {option} {text(recorded)}, not {text(typed)}: leave it out, "
        "or start a new run without `resume`"
    )
