"""Options shared by several commands.

Every command is created by :func:`command`, which adds ``-h``, ``-q`` and ``-v``. A complete
command::

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

The function has the name of the command, which is registered in
:data:`bamsearch.cli.main.COMMANDS`. Modules that load torch are imported inside the function, so
that ``--help`` stays fast.
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
from bamsearch.training.recipe import Precision

Function = TypeVar("Function", bound=Callable[..., Any])

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

DTYPES = ("float32", "bfloat16", "float16")

pass_console = click.make_pass_decorator(Console, ensure=True)
"""Pass the :class:`Console` to the command as its first argument."""


class Count(click.IntRange):
    """An integer of at least ``min`` and at most ``most``, which help does not show."""

    def __init__(self, min: int, most: int = 1_000_000) -> None:
        super().__init__(min=min)
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number.

        Raises:
            click.BadParameter: the number is out of range.
        """
        number: int = super().convert(value, param, ctx)
        if number > self._most:
            self.fail(f"{value} is not in the range {self.min}<=x<={self._most}.", param, ctx)
        return number


class Real(click.FloatRange):
    """A finite number above 0; 0 itself is allowed unless ``open``."""

    _MOST = 1e9

    def __init__(self, *, open: bool = True) -> None:
        super().__init__(min=0, min_open=open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number.

        Raises:
            click.BadParameter: the number is out of range.
        """
        number: float = super().convert(value, param, ctx)
        if not number <= self._MOST:
            least = "0<x" if self.min_open else "0<=x"
            self.fail(f"{value} is not in the range {least}<={self._MOST:g}.", param, ctx)
        return number


class DeviceType(click.ParamType[str]):
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; availability is checked later."""

    name = "device"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return "auto|cpu|cuda[:N]|mps"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value unchanged.

        Raises:
            click.BadParameter: the value is not the name of a device.
        """
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
            self.fail(f"{value!r} is not one of auto, cpu, cuda, cuda:N, mps.", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the device names that start with incomplete."""
        names = ("auto", "cpu", "cuda", "mps")
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    # the command's default must not undo a -q before the command's name
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
    help="Device; auto prefers cuda, then mps, then cpu.",
)
"""Adds ``device: str``, the input of :func:`bamsearch.profiling.devices.resolve_device`."""

seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Random seed.",
)
"""Adds ``seed: int``."""

batch_size_option = click.option(
    "--batch-size",
    type=Count(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Batch size.",
)
"""Adds ``batch_size: int``."""

dtype_option = click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Data type of weights and inputs.",
)
"""Adds ``dtype: str``, a name in torch."""


threads_option = click.option(
    "--threads",
    type=Count(min=1, most=1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of CPU threads.",
)
"""Adds ``threads: int``."""


jobs_option = click.option(
    "-j",
    "--jobs",
    type=Count(min=1, most=1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes.",
)
"""Adds ``jobs: int``."""

epochs_option = click.option(
    "--epochs", type=Count(min=1), metavar="N", help="Override the recipe's number of epochs."
)
"""Adds ``epochs: int | None``."""

precision_option = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="Numeric precision of training.  [default: 32]",
)
"""Adds ``precision: Precision | None``."""


class InputSizeType(click.ParamType[tuple[int, int]]):
    """``H`` or ``HxW``, both at least 1."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return "H[xW]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (height, width) in pixels.

        Raises:
            click.BadParameter: the value is not H or HxW.
        """
        match = re.fullmatch(r"(\d{1,5})(?:[xX×](\d{1,5}))?", str(value))
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if height < 1 or width < 1:
            self.fail(f"{value!r} is not H or HxW, such as 224 or 512x1024.", param, ctx)
        return height, width


class SitesType(click.ParamType["str | list[str]"]):
    """Name of a placement, or comma-separated names of sites."""

    name = "sites"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return "PLACEMENT|NAME,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | list[str]:
        """Return the name of the placement, or the list of site names."""
        if not isinstance(value, str) or value in PLACEMENTS:
            return value  # type: ignore[no-any-return]
        return [name.strip() for name in value.split(",") if name.strip()]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Return the placements that start with incomplete."""
        return [CompletionItem(name) for name in PLACEMENTS if name.startswith(incomplete)]


Override = tuple[str, int | None, int | None]
"""Site, reduction r, dilation d; None means the common value."""


class OverrideType(click.ParamType[Override]):
    """``NAME:r=8,d=2``, or only r or only d."""

    name = "override"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the placeholder shown in help."""
        return "NAME:r=R,d=D"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Override:
        """Return (site, r, d).

        Raises:
            click.BadParameter: the value is not NAME:r=R,d=D.
        """
        if isinstance(value, tuple):
            return value
        name, _, rest = str(value).rpartition(":")
        values: dict[str, int] = {}
        for part in rest.split(","):
            match = re.fullmatch(r"\s*([rd])\s*=\s*(\d{1,6})\s*", part)
            if match is None or match[1] in values or not name:
                self.fail(f"{value!r} is not NAME:r=R,d=D, such as layer3:r=8,d=2.", param, ctx)
            values[match[1]] = int(match[2])
        return name, values.get("r"), values.get("d")


model_argument = click.argument("model", metavar="MODEL")
"""Adds ``model: str``: a torchvision name, ``timm:NAME``, or a factory after a colon."""

input_size_option = click.option(
    "--input-size", type=InputSizeType(), help="Image size.  [default: the model's]"
)
"""Adds ``input_size: tuple[int, int] | None``."""

num_classes_option = click.option(
    "--num-classes",
    type=Count(min=1),
    metavar="N",
    help="Number of classes.  [default: the model's]",
)
"""Adds ``num_classes: int | None``."""

reduction_option = click.option(
    "-r",
    "--reduction",
    type=Count(min=1),
    default=16,
    show_default=True,
    metavar="R",
    help="Reduction ratio of the channels inside BAM.",
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
    help="BAM as in the paper's equations, or as in the authors' code.",
)
"""Adds ``variant: Variant``."""

init_option = click.option(
    "--init",
    type=click.Choice(get_args(Init)),
    help="Initialisation of BAM; identity preserves the output of the base network.  "
    "[default: identity with --weights, else paper]",
)
"""Adds ``init: Init | None``."""

weights_option = click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE",
    help="Trained weights: DEFAULT or a published name, or a .safetensors or state_dict file.",
)
"""Adds ``weights: str | None``."""


force_option = click.option("--force", is_flag=True, help="Overwrite existing output.")
"""Adds ``force: bool``."""


def output_options(output_help: str) -> Callable[[Function], Function]:
    """Add ``-o/--output``, ``--force`` and ``-n/--dry-run``.

    The command gets ``output: Path | None``, ``force: bool`` and ``dry_run: bool``.

    Args:
        output_help: help text of ``--output``.
    """

    def decorate(function: Function) -> Function:
        for option in (
            click.option("-n", "--dry-run", is_flag=True, help="Run without writing any files."),
            force_option,
            click.option(
                "-o", "--output", type=click.Path(path_type=Path), metavar="PATH", help=output_help
            ),
        ):
            function = option(function)
        return function

    return decorate


def command(name: str, *, examples: Sequence[str]) -> Callable[[Callable[..., Any]], click.Command]:
    """Turn a function into a bamsearch command with ``-h``, ``-q`` and ``-v``.

    Args:
        name: name of the command.
        examples: command lines shown at the end of its help.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        # \b keeps click from wrapping the examples into one paragraph
        epilog = "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])
        make = click.command(name, epilog=epilog, context_settings=HELP_NAMES)
        return make(quiet_option(verbose_option(function)))

    return decorate
