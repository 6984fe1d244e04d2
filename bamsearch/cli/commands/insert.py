"""``bamsearch insert``: inserts BAM into a model and shows its cost."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from bamsearch.api import insertion
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import model_work
from bamsearch.cli.next_steps import insert_next_steps, repeated_arguments
from bamsearch.cli.parameter_types import OVERRIDE, SITES, Override
from bamsearch.cli.text.insert import insert_json, print_insertion
from bamsearch.files import check_output_folder
from bamsearch.records import How, Init, Insertion, Variant


@options.command(
    "insert",
    examples=[
        "bamsearch insert resnet101",
        "bamsearch insert resnet50 --at layer3:r=8,d=2 -o r50-bam",
        "bamsearch insert mobilenet_v2 --sites stages --weights DEFAULT -o mv2-bam",
    ],
)
@options.model
@click.option(
    "--sites",
    "placement",
    type=SITES,
    default="paper",
    show_default=True,
    help="paper, bottlenecks, stages, blocks, or comma-separated site names.",
)
@options.reduction
@options.dilation
@click.option(
    "--at",
    "overrides",
    type=OVERRIDE,
    multiple=True,
    help="r and d for a single site; repeatable. Sites not in --sites are added.",
)
@options.variant
@options.init
@options.choice(
    "--how",
    choices=get_args(How),
    default="auto",
    help="Rewrite the graph, or attach BAM by hooks, which keeps the class; auto attaches if "
    "rewriting fails. With -o, the network is compared with its base and rejected if it differs.",
)
@options.weights
@options.input_size
@options.num_classes
@options.data
@options.download
@options.seed
@options.json
@options.output("Folder for design.json and, with --weights, model.safetensors.")
@options.pass_console
@click.pass_context
def insert(
    ctx: click.Context,
    console: Console,
    model: str,
    placement: str | list[str],
    reduction: int,
    dilation: int,
    overrides: tuple[Override, ...],
    variant: Variant,
    init: Init | None,
    how: How,
    weights: str | None,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    data: str | None,
    download: bool,
    seed: int,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Insert BAM into MODEL and show its cost; with -o, save the result."""
    check_output_folder(output, force=force)
    with model_work(console, f"inserting BAM into {model}", model):
        result = insertion.insert(
            model,
            placement,
            reduction=reduction,
            dilation=dilation,
            overrides=[
                Insertion(site, reduction if r is None else r, dilation if d is None else d)
                for site, r, d in overrides
            ],
            variant=variant,
            init=init,
            how=how,
            weights=weights,
            input_size=input_size,
            num_classes=num_classes,
            data=data,
            download=download,
            seed=seed,
            build=output is not None,
        )
    _warn(console, result)
    if as_json:
        console.print_json(insert_json(result))
    else:
        print_insertion(console, result)
    written = []
    if output is not None:
        with model_work(console, f"writing {output}", model):
            written = result.save(output, force=force, dry_run=dry_run)
    steps = insert_next_steps(result.summary, repeated_arguments(ctx), None if dry_run else output)
    console.finish(steps, written, dry_run=dry_run and output is not None)


def _warn(console: Console, result: insertion.InsertResult) -> None:
    loaded = result.loaded
    if loaded is not None and loaded.left_random:
        console.warn(
            f"not loaded, random: {', '.join(loaded.left_random)} (other number of classes)"
        )
    if loaded is not None and result.design.init == "paper":
        console.warn(
            "init paper scales features by about 1.5 at each site: these weights must be "
            "trained again; --init identity preserves their output"
        )
