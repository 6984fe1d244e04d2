"""``bamsearch train``: trains a design and reports its validation accuracy."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bamsearch.cli.console import Console
from bamsearch.cli.data_option import data_option, download_option, value_range_option
from bamsearch.cli.model_work import announce_code, silence_third_party
from bamsearch.cli.options import (
    Count,
    Real,
    command,
    device_option,
    epochs_option,
    json_option,
    output_options,
    pass_console,
    precision_option,
    seed_option,
)
from bamsearch.cli.text.train import (
    print_trained,
    recipe_text,
    title_text,
    train_view,
    trained_json,
)
from bamsearch.files import check_output_folder
from bamsearch.records import Design
from bamsearch.reporting.text import duration_text
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, RECIPES

if TYPE_CHECKING:
    from bamsearch.training.folder import TrainingFolder
    from bamsearch.training.request import TrainingPlan

TRAINED = Path("trained")
"""Parent folder of trainings without -o."""


@command(
    "train",
    examples=[
        "bamsearch train bamsearch.examples:resnet20 --data digits",
        "bamsearch train r20-bam --data cifar10:DIR --recipe paper-cifar --seed 1 -o r20-bam-1",
        "bamsearch train r50-bam --data imagefolder:DIR --weights DEFAULT --precision bf16-mixed",
        "bamsearch train --resume r20-bam-1",
    ],
)
@click.argument("design", metavar="[DESIGN|MODEL]", required=False)
@data_option
@download_option
@value_range_option
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    help=f"Training recipe.  [default: {DEFAULT_RECIPE}; with trained weights {FINE_TUNE}]",
)
@epochs_option
@click.option(
    "--batch-size",
    type=Count(min=1),
    metavar="N",
    show_default="the recipe's",
    help="Batch size.",
)
@click.option(
    "--lr",
    type=Real(),
    metavar="X",
    help="Override the recipe's learning rate.",
)
@click.option(
    "--weights",
    metavar="DEFAULT|NAME|FILE|random",
    help="Trained weights to start from.  [default: model.safetensors beside DESIGN, else random]",
)
@precision_option
@device_option
@seed_option
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Resume the training in DIR."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events.")
@json_option
@output_options("Folder of the training.  [default: trained/NAME-NNN]")
@pass_console
@click.pass_context
def train(
    ctx: click.Context,
    console: Console,
    /,
    design: str | None,
    device: str,
    seed: int,
    resume: Path | None,
    tensorboard: bool,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Train DESIGN on the data and report its validation accuracy.

    DESIGN is a design.json, a folder with one, a search run (its best design), or RUN@K (its
    K-th best). A MODEL is trained unchanged, without BAM. After Ctrl-C or a kill, --resume
    continues. torchrun trains on several GPUs.
    """
    if resume is not None and output is not None:
        raise click.UsageError("--resume and --output: choose one")
    first = _is_first_process()
    console.quiet |= not first
    started = resume is None and output is not None and not force and _is_training(output)
    if first and not started:
        check_output_folder(output, force=force)
    with console.progress(f"loading {resume or design} and its data"), silence_third_party(console):
        from bamsearch.training.folder import FILES, TrainingFolder
        from bamsearch.training.request import (
            TrainingRequest,
            is_unfinished_training,
            plan_resumed,
            plan_training,
        )

        typed = ctx.get_parameter_source("seed") is ParameterSource.COMMANDLINE
        request = TrainingRequest(
            what=design, seed=seed if typed or resume is None else None, **options
        )
        folder = TrainingFolder(
            resume or output or TRAINED / "NAME",
            tensorboard=tensorboard,
            force=force,
            command=shlex.join(["bamsearch", *sys.argv[1:]]),
        )
        say = partial(announce_code, console)
        if resume is None:
            planned = plan_training(request, say)
        else:
            planned = plan_resumed(request, folder, say)
        resumes = resume is not None or (started and is_unfinished_training(planned, folder))
    if not as_json and first:
        console.print(f"{title_text(planned.design, planned.data.facts)}\n{recipe_text(planned)}\n")
    if planned.initial.fresh and planned.design.init == "paper" and planned.design.insertions:
        console.warn(
            "init paper scales features by about 1.5 at each site: trained weights must adapt "
            "first; 'bamsearch insert --init identity' preserves their output"
        )
    if dry_run:
        console.finish({}, [folder.path / name for name in FILES], dry_run=True)
        return
    if first and resume is None and output is None:
        folder = replace(folder, path=_new_folder(planned.design))
    _train(console, planned, folder, device, resume=resumes, as_json=as_json)


def _is_first_process() -> bool:
    """Whether this is the only process, or rank 0 of ``torchrun``."""
    return os.environ.get("RANK", "0") == "0"


def _is_training(folder: Path) -> bool:
    return (folder / "checkpoint.pt").exists()


def _new_folder(design: Design) -> Path:
    """The first free ``trained/NAME-NNN``."""
    name = design.model.rpartition(":")[2] + ("-bam" if design.insertions else "")
    folders = (TRAINED / f"{name}-{number:03d}" for number in count(1))
    return next(folder for folder in folders if not folder.exists())


def _train(
    console: Console,
    planned: TrainingPlan,
    folder: TrainingFolder,
    device: str,
    *,
    resume: bool,
    as_json: bool,
) -> None:
    from bamsearch.training.engine import train as run

    path, recipe = folder.path, planned.recipe
    title = title_text(planned.design, planned.data.facts)
    try:
        # A network may print, but stdout is for data.
        with train_view(console, recipe, title) as view, silence_third_party(console):
            trained = run(
                planned.initial,
                planned.data,
                recipe,
                seed=planned.seed,
                device=device,
                output=folder,
                resume=resume,
                watch=view.watch,
            )
    except KeyboardInterrupt:
        console.finish({"continue": f"bamsearch train --resume {shlex.quote(str(path))}"}, [path])
        raise
    except BaseException:
        with suppress(OSError):
            path.rmdir()  # succeeds only if nothing was written yet
        raise
    if not _is_first_process():
        return
    if as_json:
        console.print_json(trained_json(trained, planned, path))
    else:
        print_trained(console, trained)
    console.note(f"\ntotal time {duration_text(view.seconds)}")
    argument = shlex.quote(str(path))
    steps = {
        "use": f"model = bamsearch.load({json.dumps(str(path), ensure_ascii=False)})",
        "export": f"bamsearch export {argument} --format onnx",
    }
    console.finish(steps, [path / "model.safetensors", path / "metrics.csv"])
