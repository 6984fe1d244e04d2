"""Useful commands after a command, with the options of its command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bamsearch.records import ModelSummary, value_range_text
from bamsearch.text import size_text


def repeated_arguments(ctx: click.Context) -> list[str]:
    """Arguments and options on the command line, except ``--json`` and ``--dry-run``."""
    words = []
    for parameter in ctx.command.params:
        name = parameter.name or ""
        stated = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not stated or name not in ctx.params or name in ("as_json", "dry_run"):
            continue
        value = ctx.params[name]
        several = parameter.nargs == -1 or getattr(parameter, "multiple", False)
        for item in value if several else [value]:
            words += [parameter.opts[-1]] if isinstance(parameter, click.Option) else []
            words += [] if item is True else [_argument_text(name, item)]
    return words


def _argument_text(name: str, value: Any) -> str:
    """Format the value of an argument or option for a command line."""
    if name == "input_size":
        return size_text(value)
    if name == "value_range":
        return value_range_text(value)
    if name == "overrides":
        site, reduction, dilation = value
        numbers = {"r": reduction, "d": dilation}
        parts = [f"{letter}={number}" for letter, number in numbers.items() if number is not None]
        return f"{site}:{','.join(parts)}"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


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
