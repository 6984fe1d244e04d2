"""``bamsearch insert``: inserts BAM into a model and shows its cost."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.insert_steps import insert_next_steps, repeated_arguments
from bamsearch.cli.model_work import model_work, silence_third_party
from bamsearch.cli.parameter_types import OVERRIDE, SITES, Override
from bamsearch.cli.text.insert import insert_json, print_insertion
from bamsearch.data.resolving import check_model_fits_data, resolve
from bamsearch.errors import InvalidValueError
from bamsearch.files import check_output_folder
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.summary import check_has_sites, cost_of, summarise
from bamsearch.records import Design, How, Init, Variant

if TYPE_CHECKING:
    from torch import nn

    from bamsearch.graph.base import Base
    from bamsearch.graph.weights import Loaded


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
    if not placement:
        raise InvalidValueError(f"--sites is empty: 'bamsearch sites {model}' lists the sites")
    with silence_third_party(console):
        input_size, num_classes, facts = resolve(
            data, input_size, num_classes, download=download, contents=False
        )
    loaded = _load(console, model, weights, input_size, num_classes, seed) if weights else None
    num_classes, published = (
        (loaded.num_classes, loaded.published) if loaded else (num_classes, None)
    )
    base = cache(partial(_base, model, input_size, num_classes, loaded))
    with model_work(console, f"tracing and counting {model}", model):
        built = base if output or loaded else None
        summary = summarise(model, input_size, num_classes, published, built)
    check_model_fits_data(facts, summary)
    check_has_sites(summary)
    insertions = plan_insertions(
        summary.sites, placement, reduction=reduction, dilation=dilation, overrides=overrides
    )
    start = init or ("identity" if weights else "paper")
    design = Design(
        *(model, summary.input_shape, insertions, variant, start, num_classes, published), how
    )
    if weights and start == "paper":
        console.warn(
            "init paper scales features by about 1.5 at each site: these weights must be "
            "trained again; --init identity preserves their output"
        )
    cost = cost_of(summary, design)
    inserted = None
    if output is not None:
        with model_work(console, "checking the network", model):
            from bamsearch.graph.designs import insert_checked

            inserted = insert_checked(design, base())
        design = replace(design, how=inserted.how)
    if as_json:
        console.print_json(insert_json(summary, design, cost, inserted))
    else:
        source = loaded.source if loaded else None
        print_insertion(console, summary, design, cost, source, inserted)
    written = []
    if output is not None and inserted is not None:
        result = inserted.module if loaded else None
        written = _write(console, design, result, output, force=force, dry_run=dry_run)
    steps = insert_next_steps(summary, repeated_arguments(ctx), None if dry_run else output)
    console.finish(steps, written, dry_run=dry_run and output is not None)


def _load(
    console: Console,
    model: str,
    weights: str,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    seed: int,
) -> Loaded:
    """Load the model with its weights; weights not in the file are random, by seed."""
    with model_work(console, f"loading {weights}", model):
        import torch

        from bamsearch.graph.weights import build_with_weights

        torch.manual_seed(seed)
        shape = _shape(model, input_size)
        loaded = build_with_weights(model, weights, shape, num_classes=num_classes)
    if loaded.left_random:
        console.warn(
            f"not loaded, random: {', '.join(loaded.left_random)} (other number of classes)"
        )
    return loaded


def _shape(model: str, input_size: tuple[int, int] | None) -> tuple[int, ...]:
    from bamsearch.graph.models import default_input_shape

    shape = default_input_shape(model)
    return (*shape[:-2], *input_size) if input_size else shape


def _base(
    model: str,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    loaded: Loaded | None,
) -> Base:
    from bamsearch.graph.base import Base, base_to_examine

    shape = _shape(model, input_size)
    if loaded is not None:
        return Base(loaded.module, shape)
    return base_to_examine(model, shape, num_classes)


def _write(
    console: Console,
    design: Design,
    module: nn.Module | None,
    output: Path,
    *,
    force: bool,
    dry_run: bool,
) -> list[Path]:
    """Save the design, with the weights of its network; return the files."""
    from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE, save

    if not dry_run:
        with model_work(console, f"writing {output}", design.model):
            save(design, output, module, force=force)
    return [output / name for name in [DESIGN_FILE, WEIGHTS_FILE][: 1 if module is None else 2]]
