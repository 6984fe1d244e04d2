"""Useful commands after ``bamsearch insert``, with the options of its command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bamsearch.records import ModelSummary


def repeated_arguments(ctx: click.Context) -> list[str]:
    """MODEL and the options on the command line that determine the design and its folder."""
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
        for item in value if name == "overrides" else [value]:
            words += [option.opts[-1], _argument_text(name, item)]
    return words


def _argument_text(name: str, value: Any) -> str:
    """Format the value of an option for a command line."""
    if name == "placement" and not isinstance(value, str):
        return ",".join(value)
    if name == "input_size":
        return "x".join(str(size) for size in value)
    if name == "overrides":
        site, reduction, dilation = value
        numbers = {"r": reduction, "d": dilation}
        parts = [f"{letter}={number}" for letter, number in numbers.items() if number is not None]
        return f"{site}:{','.join(parts)}"
    return str(value)


def insert_next_steps(
    summary: ModelSummary, arguments: list[str], output: Path | None
) -> dict[str, str]:
    """Useful commands after an insertion.

    Args:
        summary: summary of the model.
        arguments: arguments from :func:`repeated_arguments`.
        output: folder of the design; None if it was not written.
    """
    if output is not None:
        return {
            "use": f"model = bamsearch.load({json.dumps(str(output), ensure_ascii=False)})",
            "time": f"bamsearch profile {shlex.join([summary.model, str(output)])}",
            "export": f"bamsearch export {shlex.quote(str(output))} --format onnx",
        }
    model = summary.model
    steps = {"keep": f"bamsearch insert {shlex.join(arguments)}"}
    folder = shlex.quote(model.rpartition(":")[2] + "-bam")
    if "--output" not in arguments:
        steps["keep"] += f" -o {folder}"
    if arguments == [model] and is_in_torchvision_models(summary):
        shape = "" if summary.input_shape == (3, 224, 224) else f", {summary.input_shape}"
        steps["use"] = f"model = bamsearch.insert_bam(torchvision.models.{model}(){shape})"
    if "--output" not in arguments:
        steps["time"] = f"bamsearch profile {shlex.quote(model)} {folder}   (after keeping it)"
    if arguments == [model]:
        steps["improve"] = f"bamsearch search {shlex.quote(model)} --budget-gflops +2%"
    return steps | {"sites": f"bamsearch sites {shlex.quote(model)}"}


def is_in_torchvision_models(summary: ModelSummary) -> bool:
    """Whether ``torchvision.models.NAME()`` builds the model without a download."""
    elsewhere = ("deeplabv3_", "fcn_", "lraspp_", "raft_", "quantized_", "mvit_")
    plain = ":" not in summary.model and not summary.part and len(summary.input_shape) == 3
    return plain and not summary.model.startswith(elsewhere)
