"""``bamsearch attention``: shows what BAM attends to in photographs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code, silence_third_party
from bamsearch.cli.parameter_types import CHANNELS
from bamsearch.cli.text.attention import attention_json, print_attention
from bamsearch.errors import InvalidValueError, OutputError
from bamsearch.files import check_output_file
from bamsearch.records import ValueRange, value_range_text

if TYPE_CHECKING:
    from bamsearch.cli.attention_networks import ShownNetwork
    from bamsearch.cli.text.attention_show import Photograph, PhotographMaps

LEAST_STD = 1e-6


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
def attention(
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
    if std is not None and min(std) < LEAST_STD:
        raise InvalidValueError(
            f"--std must be at least {LEAST_STD:g}, as it is a divisor: give larger numbers"
        )
    images = tuple(dict.fromkeys(images))
    sheets = sheet_paths(images, output)
    for path in sheets:
        check_output_file(path, force=force)
    with console.progress(f"building {design}"), silence_third_party(console):
        from bamsearch.cli.attention_networks import build_networks, plan_networks
        from bamsearch.cli.text.attention_show import frame_all

        requests = plan_networks(design, weights, compared, mean, std)
        announce_code(console, *(request.design.model for request in requests))
        photographs = frame_all(images, requests, value_range, whole=full)
        networks = build_networks(requests, device, seed, whole=full)
    for network in networks:
        if network.warning:
            console.warn(f"{network.label}: {network.warning}")
    shown = _show(console, networks, photographs, [] if dry_run else sheets)
    if as_json:
        console.print_json(attention_json(networks, shown, sheets, seed))
    else:
        print_attention(console, networks, shown)
    if sheets:
        again = ["bamsearch", "attention", design, str(images[0])]
        next_steps = {"compare": f"{shlex.join(again)} --with DESIGN -o DIR"}
    else:
        ranges = [] if value_range is None else [value_range_text(value_range)]
        options = {"--with": compared, "--weights": weights, "--value-range": ranges}
        again = _repeated_arguments(design, images, options)
        next_steps = {"keep": f"{shlex.join(again)} -o maps"}
    console.finish(next_steps, sheets, dry_run=dry_run)


def sheet_paths(images: Sequence[Path], output: Path | None) -> list[Path]:
    """One sheet per picture, with its name; pictures of the same name are numbered.

    Raises:
        OutputError: a sheet would overwrite a picture.
    """
    if output is None:
        return []
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, not a folder: choose another path")
    stems = [image.stem.casefold() for image in images]
    taken: set[str] = set()
    paths = []
    for image in images:
        name, number = image.stem, 1
        while name.casefold() in taken or (number > 1 and name.casefold() in stems):
            number += 1
            name = f"{image.stem}-{number}"
        taken.add(name.casefold())
        paths.append(output / f"{name}.png")
    pictures = {image.resolve() for image in images}
    overwritten = next((path for path in paths if path.resolve() in pictures), None)
    if overwritten is not None:
        raise OutputError(
            f"{overwritten} is one of the pictures to show: choose another folder with -o"
        )
    return paths


def _show(
    console: Console,
    networks: Sequence[ShownNetwork],
    photographs: Sequence[Photograph],
    sheets: Sequence[Path],
) -> list[PhotographMaps]:
    """Compute the numbers of each photograph, and write its sheet at once."""
    from bamsearch.cli.attention_networks import site_order
    from bamsearch.cli.text.attention_show import show, write_sheet

    shown = []
    with console.progress("computing the maps", total=len(photographs)) as step:
        order = site_order(networks)
        for photograph, path in zip_longest(photographs, sheets):
            with silence_third_party(console):
                numbers, columns = show(networks, photograph)
            if path is not None:
                write_sheet(path, photograph, columns, order)
            shown.append(numbers)
            step()
    return shown


def _repeated_arguments(
    design: str, images: Sequence[Path], options: Mapping[str, Sequence[object]]
) -> list[str]:
    """Arguments of the same command, without output options."""
    repeated = [(name, str(value)) for name, values in options.items() for value in values]
    return ["bamsearch", "attention", design, *map(str, [*images, *chain(*repeated)])]
