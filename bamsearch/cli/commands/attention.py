"""``bamsearch attention``: shows what BAM attends to in photographs."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code_of, silence_third_party
from bamsearch.cli.next_steps import repeated_arguments
from bamsearch.cli.parameter_types import CHANNELS
from bamsearch.cli.text.attention import attention_json, print_attention
from bamsearch.records import ValueRange


@options.command(
    "attention",
    examples=[
        "bamsearch attention r50-bam cat.jpg -o maps",
        "bamsearch attention r50-bam cat.jpg --weights early.pt --weights late.pt -o maps",
        "bamsearch attention r50-bam *.jpg --with r50-narrow --with a-run@2 -o maps",
        "bamsearch attention r50-bam cat.jpg --json",
    ],
)
@click.argument("design", metavar="DESIGN", type=click.Path())
@click.argument(
    "images", metavar="IMAGE…", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--with",
    "compared",
    metavar="DESIGN",
    multiple=True,
    help="Another design to compare; repeatable.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="state_dict of the first DESIGN with BAM; repeat to compare several.  "
    "[default: model.safetensors beside DESIGN]",
)
@click.option("--full", is_flag=True, help="Show the whole photograph, at its aspect ratio.")
@click.option(
    "--mean", type=CHANNELS, help="Mean subtracted from pixels in 0..1.  [default: MODEL's]"
)
@click.option(
    "--std", type=CHANNELS, help="Standard deviation that divides them.  [default: MODEL's]"
)
@options.value_range
@options.device
@options.seed
@options.json
@options.output("Folder for the contact sheets, one PNG per photograph.")
@options.pass_console
@click.pass_context
def attention(
    ctx: click.Context,
    console: Console,
    design: str,
    images: tuple[Path, ...],
    compared: tuple[str, ...],
    weights: tuple[Path, ...],
    full: bool,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    value_range: ValueRange | None,
    device: str,
    seed: int,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Show what BAM attends to in each IMAGE: M_c, M_s and M at each site of DESIGN.

    DESIGN is a design.json, a folder with one, a search run (its best design), or RUN@K (its
    K-th best). IMAGE is JPEG, PNG, WebP, AVIF, TIFF, GIF (first frame) or BMP, of any size; EXIF
    orientation is respected. It is scaled to the input of the network and cropped to the centre.

    A contact sheet has one row per site, with M_s and M as heat maps over the photograph and M_c as
    a curve over the channels, and one column per design or file of weights.
    """
    with (
        console.progress("computing the maps", total=len(dict.fromkeys(images))) as step,
        silence_third_party(console),
    ):
        from bamsearch.api.attention import show_attention

        announce_code_of(console, design, *compared)
        networks, shown = show_attention(
            design,
            images,
            compared=compared,
            weights=weights,
            full=full,
            mean=mean,
            std=std,
            value_range=value_range,
            device=device,
            seed=seed,
            output=output,
            force=force,
            dry_run=dry_run,
            callback=step,
        )
    for network in networks:
        if network.warning:
            console.warn(f"{network.label}: {network.warning}")
    if as_json:
        console.print_json(attention_json(networks, shown, seed))
    else:
        print_attention(console, networks, shown)
    sheets = [photograph.sheet for photograph in shown if photograph.sheet is not None]
    if sheets:
        again = ["bamsearch", "attention", design, str(images[0])]
        next_steps = {"compare": f"{shlex.join(again)} --with DESIGN -o DIR"}
    else:
        again = ["bamsearch", "attention", *repeated_arguments(ctx)]
        next_steps = {"keep": f"{shlex.join(again)} -o maps"}
    console.finish(next_steps, sheets, dry_run=dry_run)
