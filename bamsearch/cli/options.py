"""The options that commands share, each defined once.

Every command is made by :func:`command`, which adds ``-h``, ``-q`` and ``-v``; the others are
added where they apply. A whole command::

    @command("insert", examples=["bamsearch insert resnet101", "bamsearch insert resnet101 -o DIR"])
    @click.argument("model")
    @seed_option
    @json_option
    @output_options("Folder for design.json and the weights.")
    @pass_console
    def insert(
        console: Console,
        model: str,
        seed: int,
        as_json: bool,
        output: Path | None,
        force: bool,
        dry_run: bool,
    ) -> None:
        '''Place BAM in MODEL and show what it costs.'''
        check_output_folder(output, force=force)
        design = ...                              # one library call
        console.print_json(...) if as_json else console.table(...)
        console.finish({"use": "bamsearch.load('DIR')"}, written=[...], dry_run=dry_run)

The function is called as the command is, and :data:`bamsearch.cli.main.COMMANDS` gets a line.
Modules that load torch are imported inside the function, so that ``--help`` stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from bamsearch.cli.console import Console
from bamsearch.graph.placement import PLACEMENTS
from bamsearch.records import Init, Variant

Function = TypeVar("Function", bound=Callable[..., Any])

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

DTYPES = ("float32", "bfloat16", "float16")

pass_console = click.make_pass_decorator(Console, ensure=True)
"""Give the command the :class:`Console` as its first argument."""


class Count(click.IntRange):
    """A whole number from ``min`` on that machines can count to.

    Args:
        min: the least.
        most: the greatest; help leaves it out.
    """

    def __init__(self, min: int, most: int = 1_000_000) -> None:
        super().__init__(min=min)
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail as click does."""
        number: int = super().convert(value, param, ctx)
        if number > self._most:
            self.fail(f"{value} is not in the range {self.min}<=x<={self._most}.", param, ctx)
        return number


class Real(click.FloatRange):
    """A finite number from 0 on, or above 0.

    Args:
        open: 0 itself is refused.
    """

    _MOST = 1e9

    def __init__(self, *, open: bool = True) -> None:
        super().__init__(min=0, min_open=open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail as click does."""
        number: float = super().convert(value, param, ctx)
        if not number <= self._MOST:
            least = "0<x" if self.min_open else "0<=x"
            self.fail(f"{value} is not in the range {least}<={self._MOST:g}.", param, ctx)
        return number


class DeviceType(click.ParamType[str]):
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; whether it is there is not asked yet."""

    name = "device"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "auto|cpu|cuda[:N]|mps"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return value unchanged, or fail as click does."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The names that start with incomplete."""
        names = ("auto", "cpu", "cuda", "mps")
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    # a flag that was not given must not undo the one before the command's name
    if value:
        ctx.ensure_object(Console).quiet = True


def _set_verbose(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Console).verbose = True


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_quiet,
    help="Print only the result, warnings and errors.",
)

verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_set_verbose,
    help="Print details and, after an error, the traceback.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."
)
"""Adds ``as_json: bool``."""

device_option = click.option(
    "--device",
    type=DeviceType(),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes cuda, then mps, then cpu.",
)
"""Adds ``device: str``, to be given to :func:`bamsearch.profile.devices.resolve_device`."""

seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of everything random.",
)
"""Adds ``seed: int``."""

batch_size_option = click.option(
    "--batch-size",
    type=Count(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Inputs in one batch.",
)
"""Adds ``batch_size: int``."""

dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Number format of weights and inputs.",
)
"""Adds ``dtype: str``, a name in torch."""


threads_option = click.option(
    "--threads",
    type=Count(min=1, most=1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads on a CPU.",
)
"""Adds ``threads: int``."""


class InputSizeType(click.ParamType[tuple[int, int]]):
    """``H`` or ``HxW``, both at least 1."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "H[xW]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (height, width), or fail as click does."""
        match = re.fullmatch(r"(\d{1,5})(?:[xX×](\d{1,5}))?", str(value))
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if height < 1 or width < 1:
            self.fail(f"{value!r} is not H or HxW, such as 224 or 512x1024.", param, ctx)
        return height, width


class SitesType(click.ParamType["str | list[str]"]):
    """A placement's name, or names of sites with commas between."""

    name = "sites"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "PLACEMENT|NAME,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | list[str]:
        """Return the placement, or the list of names."""
        if not isinstance(value, str) or value in PLACEMENTS:
            return value  # type: ignore[no-any-return]
        return [name.strip() for name in value.split(",") if name.strip()]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The placements that start with incomplete."""
        return [CompletionItem(name) for name in PLACEMENTS if name.startswith(incomplete)]


Override = tuple[str, int | None, int | None]
"""Site, its own r, its own d; None is the common one."""


class OverrideType(click.ParamType[Override]):
    """``NAME:r=8,d=2``, or only one of them."""

    name = "override"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What help shows for the value."""
        return "NAME:r=R,d=D"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Override:
        """Return (site, r, d), or fail as click does."""
        if isinstance(value, tuple):
            return value
        name, _, rest = str(value).rpartition(":")
        own: dict[str, int] = {}
        for part in rest.split(","):
            match = re.fullmatch(r"\s*([rd])\s*=\s*(\d{1,6})\s*", part)
            if match is None or match[1] in own or not name:
                self.fail(f"{value!r} is not NAME:r=R,d=D, such as layer3:r=8,d=2.", param, ctx)
            own[match[1]] = int(match[2])
        return name, own.get("r"), own.get("d")


model_argument = click.argument("model", metavar="MODEL")
"""Adds ``model: str``: a torchvision name, ``timm:NAME``, or a factory after a colon."""

input_size_option = click.option(
    "--input-size", type=InputSizeType(), help="Size of the image.  [default: the model's own]"
)
"""Adds ``input_size: tuple[int, int] | None``."""

num_classes_option = click.option(
    "--num-classes",
    type=Count(min=1),
    metavar="N",
    help="Classes of the head.  [default: the model's own]",
)
"""Adds ``num_classes: int | None``."""

reduction_option = click.option(
    "-r",
    "--reduction",
    type=Count(min=1),
    default=16,
    show_default=True,
    metavar="R",
    help="Channels are divided by R inside BAM.",
)
"""Adds ``reduction: int``."""

dilation_option = click.option(
    "-d",
    "--dilation",
    type=Count(min=1),
    default=4,
    show_default=True,
    metavar="D",
    help="Dilation of BAM's 3x3 convolutions.",
)
"""Adds ``dilation: int``."""

variant_option = click.option(
    "--variant",
    type=click.Choice(get_args(Variant)),
    default="paper",
    show_default=True,
    help="The paper's equations, or the authors' code.",
)
"""Adds ``variant: Variant``."""

init_option = click.option(
    "--init",
    type=click.Choice(get_args(Init)),
    help="identity starts as the base network.  [default: identity with --weights, else paper]",
)
"""Adds ``init: Init | None``."""

weights_option = click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE",
    help="Trained weights: published ones, or a .safetensors or state_dict file.",
)
"""Adds ``weights: str | None``."""


force_option = click.option("--force", is_flag=True, help="Overwrite what is there already.")
"""Adds ``force: bool``."""


def output_options(what: str) -> Callable[[Function], Function]:
    """Add ``-o/--output``, ``--force`` and ``-n/--dry-run``.

    The command gets ``output: Path | None``, ``force: bool`` and ``dry_run: bool``.

    Args:
        what: help for ``--output``: what is written there.
    """

    def decorate(function: Function) -> Function:
        for option in (
            click.option("-n", "--dry-run", is_flag=True, help="Do all but the writing."),
            force_option,
            click.option(
                "-o", "--output", type=click.Path(path_type=Path), metavar="PATH", help=what
            ),
        ):
            function = option(function)
        return function

    return decorate


def command(name: str, *, examples: Sequence[str]) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command of bamsearch, with ``-h``, ``-q`` and ``-v``.

    Args:
        name: what to type after ``bamsearch``.
        examples: command lines, shown at the end of its help.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        # \b keeps click from wrapping the examples into one paragraph
        epilog = "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])
        make = click.command(name, epilog=epilog, context_settings=HELP_NAMES)
        return make(quiet_option(verbose_option(function)))

    return decorate
