"""What to type after ``bamsearch insert``, with all that was typed before."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bamsearch.records import ModelSummary


def same_again(ctx: click.Context) -> list[str]:
    """MODEL and the options that were typed: all that decides what is inserted, and where to."""
    words = [ctx.params["model"]]
    for option in ctx.command.params:
        name = option.name or ""
        typed = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not typed or name not in ctx.params or name in ("model", "as_json", "dry_run"):
            continue
        value = ctx.params[name]
        if value is True:
            words.append(option.opts[-1])
            continue
        for one in value if name == "overrides" else [value]:
            words += [option.opts[-1], _typed(name, one)]
    return words


def _typed(name: str, value: Any) -> str:
    """An option's value as it is typed."""
    if name == "placement" and not isinstance(value, str):
        return ",".join(value)
    if name == "input_size":
        return "x".join(str(size) for size in value)
    if name == "overrides":
        site, reduction, dilation = value
        given = {"r": reduction, "d": dilation}
        own = [f"{letter}={number}" for letter, number in given.items() if number is not None]
        return f"{site}:{','.join(own)}"
    return str(value)


def next_steps(summary: ModelSummary, same: list[str], output: Path | None) -> dict[str, str]:
    """What to type next.

    Args:
        summary: of the model.
        same: see :func:`same_again`.
        output: where the design was written; None where it was not.
    """
    if output is not None:
        return {
            "use": f"model = bamsearch.load({json.dumps(str(output), ensure_ascii=False)})",
            "time": f"bamsearch profile {shlex.join([summary.model, str(output)])}",
            "export": f"bamsearch export {shlex.quote(str(output))} --format onnx",
        }
    model = summary.model
    steps = {"keep": f"bamsearch insert {shlex.join(same)}"}
    kept = shlex.quote(model.rpartition(":")[2] + "-bam")
    if "--output" not in same:
        steps["keep"] += f" -o {kept}"
    if same == [model] and is_in_torchvision_models(summary):
        shape = "" if summary.input_shape == (3, 224, 224) else f", {summary.input_shape}"
        steps["use"] = f"model = bamsearch.insert_bam(torchvision.models.{model}(){shape})"
    if "--output" not in same:
        steps["time"] = f"bamsearch profile {shlex.quote(model)} {kept}   (after keeping it)"
    if same == [model]:
        steps["improve"] = f"bamsearch search {shlex.quote(model)} --budget-gflops +2%"
    return steps | {"sites": f"bamsearch sites {shlex.quote(model)}"}


def is_in_torchvision_models(summary: ModelSummary) -> bool:
    """Whether ``torchvision.models.NAME()`` is the model, and fetches nothing."""
    elsewhere = ("deeplabv3_", "fcn_", "lraspp_", "raft_", "quantized_", "mvit_")
    plain = ":" not in summary.model and not summary.part and len(summary.input_shape) == 3
    return plain and not summary.model.startswith(elsewhere)
