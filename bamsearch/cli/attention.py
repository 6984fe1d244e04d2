"""``bamsearch attention``: what BAM attends to in photographs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bamsearch.cli.attention_text import attention_json, print_attention
from bamsearch.cli.console import Console
from bamsearch.cli.data_option import value_range_option
from bamsearch.cli.model_work import announce_code, silence_third_party
from bamsearch.cli.options import (
    command,
    device_option,
    json_option,
    output_options,
    pass_console,
    seed_option,
)
from bamsearch.cli.output import check_output_file
from bamsearch.errors import InvalidValueError, OutputError
from bamsearch.records import ValueRange, value_range_text

if TYPE_CHECKING:
    from bamsearch.cli.attention_networks import Network
    from bamsearch.cli.attention_show import Photograph, Shown

LEAST_STD = 1e-6
_MOST = 1e6


class ChannelsType(click.ParamType[tuple[float, ...]]):
    """One number, or three with commas between."""

    name = "channels"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "R,G,B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Return the numbers, or fail as click does."""
        if isinstance(value, tuple):
            return value
        numbers = str(value).split(",")
        number = r"\s*-?(\d+\.?\d*|\.\d+)\s*"
        shapes = len(numbers) in (1, 3) and all(re.fullmatch(number, n) for n in numbers)
        if not shapes or max(abs(float(n)) for n in numbers) > _MOST:
            self.fail(f"{value!r} is not R,G,B, such as 0.485,0.456,0.406.", param, ctx)
        return tuple(map(float, numbers))


@command(
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
    "others",
    metavar="DESIGN",
    multiple=True,
    help="Another design beside it; repeatable.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="state_dict of the first DESIGN with BAM; several stand side by side.  "
    "[default: model.safetensors beside DESIGN]",
)
@click.option("--full", is_flag=True, help="Show all of the photograph, at its aspect ratio.")
@click.option("--mean", type=ChannelsType(), help="Taken from pixels in 0..1.  [default: MODEL's]")
@click.option("--std", type=ChannelsType(), help="What they are divided by.  [default: MODEL's]")
@value_range_option
@device_option
@seed_option
@json_option
@output_options("Folder for one contact sheet a photograph, PNG.")
@pass_console
def attention(
    console: Console,
    design: str,
    images: tuple[Path, ...],
    others: tuple[str, ...],
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

    DESIGN is a design.json, a folder with one, a run of a search (its best), or RUN@K (its K-th).
    IMAGE is JPEG, PNG, WebP, AVIF, TIFF, GIF (its first frame) or BMP, of any size; EXIF
    orientation is respected. It is scaled to fill the input of the network, and the middle taken.

    A contact sheet has a row for each site: M_s and M as heat maps over the photograph, M_c as a
    curve over the channels, and a column for each design or file of weights.
    """
    if std is not None and min(std) < LEAST_STD:
        raise InvalidValueError(f"--std divides: each of its numbers is {LEAST_STD:g} or more")
    images = tuple(dict.fromkeys(images))
    sheets = sheet_paths(images, output)
    for path in sheets:
        check_output_file(path, force=force)
    with console.progress(f"building {design}"), silence_third_party(console):
        from bamsearch.cli.attention_networks import open_networks, plan
        from bamsearch.cli.attention_show import frame_all

        asked = plan(design, weights, others, mean, std)
        announce_code(console, *(one.design.model for one in asked))
        photographs = frame_all(images, asked, value_range, whole=full)
        networks = open_networks(asked, device, seed, whole=full)
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
        options = {"--with": others, "--weights": weights, "--value-range": ranges}
        again = _again(design, images, options)
        next_steps = {"keep": f"{shlex.join(again)} -o maps"}
    console.finish(next_steps, sheets, dry_run=dry_run)


def sheet_paths(images: Sequence[Path], output: Path | None) -> list[Path]:
    """A sheet for each picture, named after it; a number tells those of one name apart.

    Raises:
        OutputError: a sheet would take the place of a picture.
    """
    if output is None:
        return []
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, and a folder is needed: choose another path")
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
    own = next((path for path in paths if path.resolve() in pictures), None)
    if own is not None:
        raise OutputError(f"{own} is a picture that is shown itself: choose another folder with -o")
    return paths


def _show(
    console: Console,
    networks: Sequence[Network],
    photographs: Sequence[Photograph],
    sheets: Sequence[Path],
) -> list[Shown]:
    """The numbers of each photograph; its sheet is written as soon as they are known."""
    from bamsearch.cli.attention_networks import site_order
    from bamsearch.cli.attention_show import show, write_sheet

    shown = []
    with console.progress("computing the maps", total=len(photographs)) as step:
        order = site_order(networks)
        for photograph, path in zip_longest(photographs, sheets):
            with silence_third_party(console):
                found, columns = show(networks, photograph)
            if path is not None:
                write_sheet(path, photograph, columns, order)
            shown.append(found)
            step()
    return shown


def _again(
    design: str, images: Sequence[Path], options: Mapping[str, Sequence[object]]
) -> list[str]:
    """The words of the same command, as far as they say what is shown."""
    repeated = [(name, str(value)) for name, values in options.items() for value in values]
    return ["bamsearch", "attention", design, *map(str, [*images, *chain(*repeated)])]
