"""``bamsearch profile``: counts and times networks side by side."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code_of, model_work
from bamsearch.cli.text.profile import print_latency, print_profile, profile_csv, profile_json
from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError
from bamsearch.files import check_output_file
from bamsearch.records import DType, Mode

if TYPE_CHECKING:
    from bamsearch.profiling.compare import Subject
    from bamsearch.profiling.workload import Conditions

REDUCTIONS = (4, 8, 16, 32)
DILATIONS = (1, 2, 4, 6)
"""r and d of latency tables: those of the shipped search spaces."""


@options.command(
    "profile",
    examples=[
        "bamsearch profile resnet101 r101-bam --device cuda",
        "bamsearch profile resnet101 --no-time --depth 2",
        "bamsearch profile resnet50 r50-bam --train --batch-size 64 --dtype bfloat16",
    ],
)
@click.argument("targets", metavar="MODEL|DESIGN…", nargs=-1, required=True)
@click.option(
    "--time/--no-time", "timed", default=True, help="Also measure latency.  [default: yes]"
)
@options.count(
    "--depth",
    least=0,
    help="Show modules down to this depth.  [default: 1 for one network, else 0]",
)
@options.device
@options.batch_size
@options.dtype
@click.option("--channels-last", is_flag=True, help="Use the memory format channels_last.")
@options.choice(
    "--mode",
    "modes",
    choices=["eager", "compile", "cudagraph"],
    default=["eager"],
    multiple=True,
    help="Execution mode of the networks; repeatable.",
)
@click.option("--train", is_flag=True, help="Time forward and backward.")
@click.option("--memory", is_flag=True, help="Also measure peak memory.")
@options.count("--samples", default=40, least=3, help="Number of timing samples, or of pairs.")
@options.threads
@click.option("--fit-batch", is_flag=True, help="Reduce the batch size if memory is too small.")
@click.option(
    "--latency-table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV of site, r, d, ms: read if it exists, else measured and written.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a torch.profiler trace of the last network.",
)
@options.force
@options.input_size
@options.num_classes
@options.data
@options.download
@options.seed
@options.json
@click.option("--csv", "as_csv", is_flag=True, help="Print the comparison as CSV on stdout.")
@options.pass_console
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
    force: bool,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    data: str | None,
    download: bool,
    seed: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Count and time each MODEL or DESIGN, and compare them with the first."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: choose one")
    check_output_file(trace, force=force)
    with model_work(console, "loading torch", targets[0]):
        from bamsearch.profiling.devices import resolve_device

        resolved_device = str(resolve_device(device))
        input_size, num_classes, _ = resolve(
            data, input_size, num_classes, download=download, contents=False
        )
    conditions: Conditions = {
        "device": resolved_device,
        "batch_size": batch_size,
        "dtype": dtype,
        "memory_format": "channels_last" if channels_last else "contiguous",
        "train": train,
        "threads": threads,
    }
    subjects = _open(console, targets, input_size, num_classes, seed)
    if latency_table is not None and not any(subject.design is None for subject in subjects):
        raise InvalidValueError("--latency-table needs the MODEL without BAM among the networks")
    if fit_batch:
        conditions["batch_size"] = _fitting_batch(console, subjects, conditions)
    with console.progress("counting and timing" if timed else "counting") as step:
        profiled = bamsearch.profile(
            *subjects,
            modes=modes if timed else (),
            memory=memory,
            samples=samples,
            seed=seed,
            step=step,
            **conditions,
        )
    if as_json:
        console.print_json(profile_json(profiled))
    elif as_csv:
        console.print_exactly(profile_csv(profiled))
    else:
        print_profile(console, profiled, depth)
    written = []
    if latency_table is not None:
        in_mode: Conditions = {**conditions, "mode": modes[0]}
        written += _latency(console, subjects, latency_table, samples, seed, in_mode)
    if trace is not None:
        written += _trace(console, subjects[-1], trace, modes[0], conditions)
    console.finish(_next_steps(targets), written or None)


def _open(
    console: Console,
    targets: tuple[str, ...],
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    seed: int,
) -> list[Subject]:
    with model_work(console, "building the networks", targets[0]):
        import torch

        from bamsearch.profiling.compare import open_subjects

        announce_code_of(console, *targets)
        torch.manual_seed(seed)
        return open_subjects(targets, input_size, num_classes)


def _fitting_batch(console: Console, subjects: list[Subject], conditions: Conditions) -> int:
    """The largest batch that all networks can run; warns if it is not the requested one."""
    from bamsearch.profiling.workload import largest_batch

    with console.progress("finding the largest batch"):
        modules = [subject.module for subject in subjects]
        batch_size = largest_batch(modules, subjects[0].input_shape, **conditions)
    if batch_size != conditions["batch_size"]:
        console.warn(
            f"a batch of {conditions['batch_size']} does not fit into memory: using {batch_size}"
        )
    return batch_size


def _latency(
    console: Console,
    subjects: list[Subject],
    path: Path,
    samples: int,
    seed: int,
    conditions: Conditions,
) -> list[Path]:
    """Predict the designs' latency from the table at path, which is measured if missing."""
    from bamsearch.profiling.latency import measure_latency
    from bamsearch.profiling.latency_csv import read_latency_csv, write_latency_csv
    from bamsearch.profiling.summary import summarise

    base = next(subject for subject in subjects if subject.design is None)
    summary = summarise(base.name, base.image_shape[-2:])
    written = []
    if path.exists():
        table = read_latency_csv(path, summary)
    else:
        with console.progress(f"timing every BAM of {base.name}"):
            table = measure_latency(
                base.model,
                summary=summary,
                reductions=REDUCTIONS,
                dilations=DILATIONS,
                sites="stages",
                samples=samples,
                seed=seed,
                **conditions,
            )
        write_latency_csv(table, path)
        written.append(path)
    print_latency(console, table, subjects)
    return written


def _trace(
    console: Console, subject: Subject, path: Path, mode: Mode, conditions: Conditions
) -> list[Path]:
    from bamsearch.profiling.traces import write_trace
    from bamsearch.profiling.workload import workload

    with console.progress(f"tracing {subject.name}"):
        in_mode: Conditions = {**conditions, "mode": mode}
        write_trace(workload(subject.module, subject.input_shape, **in_mode), path)
    return [path]


def _next_steps(targets: tuple[str, ...]) -> dict[str, str]:
    if len(targets) == 1:
        name = shlex.quote(targets[0])
        return {"compare": f"bamsearch profile {name} DESIGN"}
    return {"export": f"bamsearch export {shlex.quote(targets[-1])}"}
