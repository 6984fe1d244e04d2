"""``bamsearch profile``: counts and times networks side by side."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code_of, silence_third_party
from bamsearch.cli.text.profile import print_profile, profile_csv, profile_json
from bamsearch.records import DType, Mode


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
    written = [path for path in (latency_table,) if path is not None and not path.exists()]
    title = "counting and timing" if timed else "counting"
    with console.progress(title) as step, silence_third_party(console):
        announce_code_of(console, *targets)
        profiled = bamsearch.profile(
            *targets,
            input_size=input_size,
            num_classes=num_classes,
            data=data,
            download=download,
            modes=modes,
            timed=timed,
            memory=memory,
            samples=samples,
            seed=seed,
            fit_batch=fit_batch,
            latency_table=latency_table,
            trace=trace,
            force=force,
            step=step,
            device=device,
            batch_size=batch_size,
            dtype=dtype,
            memory_format="channels_last" if channels_last else "contiguous",
            train=train,
            threads=threads,
        )
    fitted = profiled[0].batch_size
    if fitted != batch_size:
        console.warn(f"a batch of {batch_size} does not fit into memory: using {fitted}")
    if as_json:
        console.print_json(profile_json(profiled))
    elif as_csv:
        console.print_exactly(profile_csv(profiled))
    else:
        print_profile(console, profiled, depth)
    written += [trace] if trace is not None else []
    if len(targets) == 1:
        next_steps = {"compare": f"bamsearch profile {shlex.quote(targets[0])} DESIGN"}
    else:
        next_steps = {"export": f"bamsearch export {shlex.quote(targets[-1])}"}
    console.finish(next_steps, written or None)
