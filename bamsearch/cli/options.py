"""Options shared by several commands, as decorators.

Every command is created by :func:`command`, which adds ``-h``, ``-q`` and ``-v``. A complete
command::

    @options.command("insert", examples=["bamsearch insert resnet101 -o DIR"])
    @click.argument("model")
    @options.seed
    @options.json
    @options.output("Folder for design.json and the weights.")
    @options.pass_console
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

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from bamsearch.cli.console import Console
from bamsearch.cli.parameter_types import DEVICE, INPUT_SIZE, VALUE_RANGE, Count, Real
from bamsearch.records import DType, Init, Quantity, Variant
from bamsearch.study.jobs import STORAGE_VARIABLE
from bamsearch.training.recipe import Precision

Decorator = Callable[[Any], Any]

HELP_NAMES = {"help_option_names": ["-h", "--help"]}

pass_console = click.make_pass_decorator(Console, ensure=True)
"""Pass the :class:`Console` to the command as its first argument."""


def command_line() -> str:
    """The command line as it was typed."""
    return shlex.join(["bamsearch", *sys.argv[1:]])


def stated(options: dict[str, Any]) -> dict[str, Any]:
    """The options on the command line; the library has the defaults of the others."""
    source = click.get_current_context().get_parameter_source
    return {
        name: value
        for name, value in options.items()
        if source(name) is not ParameterSource.DEFAULT
    }


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
        return make(quiet(verbose(function)))

    return decorate


def count(
    *names: str,
    default: int | None = None,
    least: int = 1,
    most: int = 1_000_000,
    metavar: str = "N",
    shown: str = "",
    help: str,
) -> Decorator:
    """An option whose value is an integer from ``least`` to ``most``.

    Args:
        names: names of the option.
        default: value without the option.
        least: smallest value.
        most: largest value; help does not show it.
        metavar: placeholder in help.
        shown: default as shown in help, if it is not ``default``.
        help: description.
    """
    return click.option(
        *names,
        type=Count(least, most),
        default=default,
        show_default=shown or default is not None,
        metavar=metavar,
        help=help,
    )


def choice(
    *names: str, choices: Sequence[str], default: Any = None, multiple: bool = False, help: str
) -> Decorator:
    """An option whose value is one of the choices."""
    kind, shown = click.Choice(choices), default is not None
    return click.option(
        *names, type=kind, default=default, show_default=shown, multiple=multiple, help=help
    )


def _joined(*options: Decorator) -> Decorator:
    """The options as one decorator, in the order of the help."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _console_flag(short: str, name: str, help: str) -> Decorator:
    """A flag that sets the attribute of the console with its name."""

    def set_flag(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        # the command's default must not undo a flag before the command's name
        if value:
            setattr(ctx.ensure_object(Console), name, True)

    return click.option(
        short,
        f"--{name}",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=set_flag,
        help=help,
    )


quiet = _console_flag("-q", "quiet", "Print only the result, warnings and errors.")
verbose = _console_flag("-v", "verbose", "Print details and, after an error, the traceback.")

json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
"""Adds ``as_json: bool``."""

force = click.option("--force", is_flag=True, help="Overwrite existing output.")


def output(output_help: str) -> Decorator:
    """Add ``-o/--output``, ``--force`` and ``-n/--dry-run``.

    The command gets ``output: Path | None``, ``force: bool`` and ``dry_run: bool``.

    Args:
        output_help: help text of ``--output``.
    """
    path = click.Path(path_type=Path)
    return _joined(
        click.option("-o", "--output", type=path, metavar="PATH", help=output_help),
        force,
        click.option("-n", "--dry-run", is_flag=True, help="Run without writing any files."),
    )


device = click.option(
    "--device",
    type=DEVICE,
    default="auto",
    show_default=True,
    help="Device; auto prefers cuda, then mps, then cpu.",
)
"""Adds ``device: str``, the input of :func:`bamsearch.profiling.devices.resolve_device`."""

seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Random seed.",
)
batch_size = count("--batch-size", default=1, help="Batch size.")
dtype = choice(
    "--dtype", choices=get_args(DType), default="float32", help="Data type of weights and inputs."
)
threads = count("--threads", default=1, most=1024, help="Number of CPU threads.")
jobs = count("-j", "--jobs", default=1, most=1024, help="Number of processes.")
timeout = click.option(
    "--timeout", type=Real(open=False), metavar="S", help="Stop after S seconds."
)
epochs = count("--epochs", help="Override the recipe's number of epochs.")
precision = choice(
    "--precision",
    choices=get_args(Precision),
    help="Numeric precision of training.  [default: 32]",
)

storage = click.option(
    "--storage",
    envvar=STORAGE_VARIABLE,
    metavar="URL",
    help="Study database, such as postgresql+psycopg://USER@HOST/DB; "
    f"also set by ${STORAGE_VARIABLE}.",
)

model = click.argument("model", metavar="MODEL")
"""Adds ``model: str``: a torchvision name, ``timm:NAME``, or a factory after a colon."""

input_size = click.option(
    "--input-size", type=INPUT_SIZE, help="Image size.  [default: the model's]"
)
"""Adds ``input_size: tuple[int, int] | None``, (H, W)."""

num_classes = count("--num-classes", help="Number of classes.  [default: the model's]")
reduction = count(
    *("-r", "--reduction"),
    default=16,
    metavar="R",
    help="Reduction ratio of the channels inside BAM.",
)
dilation = count(
    *("-d", "--dilation"), default=4, metavar="D", help="Dilation of BAM's 3x3 convolutions."
)
variant = choice(
    "--variant",
    choices=get_args(Variant),
    default="paper",
    help="BAM as in the paper's equations, or as in the authors' code.",
)
init = choice(
    "--init",
    choices=get_args(Init),
    help="Initialisation of BAM; identity preserves the output of the base network.  "
    "[default: identity with --weights, else paper]",
)
search_init = choice(
    "--init", choices=get_args(Init), default="paper", help="Initialisation of BAM."
)
weights = click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE",
    help="Trained weights: DEFAULT or a published name, or a .safetensors or state_dict file.",
)

data = click.option(
    "--data",
    metavar="NAME",
    help="Data set: digits, or KIND:DIR such as imagefolder:DIR; sets input size and classes.",
)
"""Adds ``data: str | None``, the input of :func:`bamsearch.data.resolving.resolve` or
:func:`bamsearch.data.loading.load_data`."""

download = click.option("--download", is_flag=True, help="Download --data if it is missing.")

value_range = click.option(
    "--value-range",
    type=VALUE_RANGE,
    help="Pixel values shown as black and white in images of more than 8 bits.  "
    "[default: the range of the data type, if the images use all of it]",
)
"""Adds ``value_range: ValueRange | None``, for use with :data:`data`."""

space = _joined(
    click.option(
        "--budget-gflops",
        metavar="N",
        help="Budget in GFLOPs (10^9 multiply-adds): 8, or +2% over the base.",
    ),
    click.option("--budget-params", metavar="N", help="Parameter budget: 45M, or +2%."),
    click.option(
        "--budget-memory",
        metavar="N",
        help="Budget of activation memory kept for backward in one training step: 200MiB, or +2%.",
    ),
    click.option(
        "--budget-ms", metavar="N", help="Latency budget on --device, in milliseconds: 12, or +2%."
    ),
    click.option(
        "--space",
        default="stages",
        show_default=True,
        metavar="NAME|FILE",
        help="Search space; see 'bamsearch spaces'.",
    ),
    click.option("--with-stem", is_flag=True, help="Add the stem to the search space."),
)
"""Adds ``budget_gflops``, ``…_params``, ``…_memory``, ``…_ms``, ``space`` and ``with_stem``."""


def take_budgets(values: dict[str, Any]) -> dict[Quantity, str]:
    """Remove the budgets from the values of options; return the stated ones, as typed."""
    texts = {quantity: values.pop(f"budget_{quantity}") for quantity in get_args(Quantity)}
    return {quantity: text for quantity, text in texts.items() if text is not None}
