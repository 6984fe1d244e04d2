"""``bamsearch profile``: what networks cost, counted and timed side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bamsearch.cli.console import Console
from bamsearch.cli.options import (
    batch_size_option,
    command,
    device_option,
    dtype_option,
    input_size_option,
    json_option,
    num_classes_option,
    pass_console,
    seed_option,
)
from bamsearch.records import DType, MemoryFormat, Mode

if TYPE_CHECKING:
    from bamsearch.profile.compare import Profiled, Subject


@command(
    "profile",
    examples=[
        "bamsearch profile resnet101 r101-bam --device cuda",
        "bamsearch profile resnet101 --no-time --depth 2",
        "bamsearch profile resnet50 r50-bam --train --batch-size 64 --dtype bfloat16",
    ],
)
@click.argument("targets", metavar="MODEL|DESIGN…", nargs=-1, required=True)
@click.option("--time/--no-time", "timed", default=True, help="Time them too.  [default: yes]")
@click.option(
    "--depth",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show modules down to this depth.  [default: 1 for one network, else 0]",
)
@device_option
@batch_size_option
@dtype_option
@click.option("--channels-last", is_flag=True, help="Weights and input in channels_last.")
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["eager", "compile", "cudagraph"]),
    multiple=True,
    default=["eager"],
    show_default=True,
    help="How the network runs; repeatable.",
)
@click.option("--train", is_flag=True, help="Time forward and backward.")
@click.option("--memory", is_flag=True, help="Show peak memory too.")
@click.option(
    "--samples",
    type=click.IntRange(min=3),
    default=40,
    show_default=True,
    metavar="N",
    help="Samples, or pairs of them.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads on a CPU.",
)
@click.option("--fit-batch", is_flag=True, help="If memory is short, take the batch that fits.")
@click.option(
    "--latency-table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV of site, r, d, ms: read if it is there, else measured and written.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a torch.profiler trace of the last network.",
)
@input_size_option
@num_classes_option
@seed_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print the comparison as CSV on stdout.")
@pass_console
def profile(
    console: Console,
    targets: tuple[str, ...],
    timed: bool,
    depth: int | None,
    device: str,
    batch_size: int,
    dtype: DType,
    channels_last: bool,
    modes: tuple[Mode, ...],
    train: bool,
    memory: bool,
    samples: int,
    threads: int,
    fit_batch: bool,
    latency_table: Path | None,
    trace: Path | None,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    seed: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Count and time each MODEL or DESIGN, and compare them with the first."""
    with console.progress("loading torch"):
        from bamsearch.profile.compare import open_subject, profile
        from bamsearch.profile.devices import resolve_device

        where = str(resolve_device(device))
    memory_format: MemoryFormat = "channels_last" if channels_last else "contiguous"
    conditions: dict[str, Any] = {
        "device": where,
        "batch_size": batch_size,
        "dtype": dtype,
        "memory_format": memory_format,
        "train": train,
        "threads": threads,
    }
    with console.progress("building", total=len(targets)) as step:
        subjects = []
        for target in targets:
            subjects.append(open_subject(target, input_size, num_classes))
            step()
    if fit_batch:
        conditions["batch_size"] = _fitting_batch(console, subjects, conditions)
    with console.progress("counting and timing" if timed else "counting") as step:
        profiled = profile(
            subjects, modes=modes if timed else (), step=step, samples=samples, seed=seed, **conditions
        )
