"""``bamsearch train``: trains a design and reports its validation accuracy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.parameter_types import Real
from bamsearch.cli.text.train import print_trained, recipe_text, title_text, trained_json
from bamsearch.cli.training_view import TerminalView, recipe_options
from bamsearch.reporting.text import duration_text
from bamsearch.training.progress import Watch, is_first_process
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, Recipe


@options.command(
    "train",
    examples=[
        "bamsearch train bamsearch.examples:resnet20 --data digits",
        "bamsearch train r20-bam --data cifar10:DIR --recipe paper-cifar --seed 1 -o r20-bam-1",
        "bamsearch train r50-bam --data imagefolder:DIR --weights DEFAULT --precision bf16-mixed",
        "bamsearch train --resume r20-bam-1",
    ],
)
@click.argument("design", metavar="[DESIGN|MODEL]", required=False)
@options.data
@options.download
@options.value_range
@recipe_options(f"{DEFAULT_RECIPE}; with trained weights {FINE_TUNE}")
@options.count("--batch-size", shown="the recipe's", help="Batch size.")
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
@options.precision
@options.device
@options.seed
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Resume the training in DIR."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard events.")
@options.json
@options.output("Folder of the training.  [default: trained/NAME-NNN]")
@options.pass_console
def train(
    console: Console,
    /,
    design: str | None,
    resume: Path | None,
    as_json: bool,
    output: Path | None,
    dry_run: bool,
    **values: Any,
) -> None:
    """Train DESIGN on the data and report its validation accuracy.

    DESIGN is a design.json, a folder with one, a search run (its best design), or RUN@K (its
    K-th best). A MODEL is trained unchanged, without BAM. After Ctrl-C or a kill, --resume
    continues. torchrun trains on several GPUs.
    """
    if resume is not None and output is not None:
        raise click.UsageError("--resume and --output: choose one")
    console.quiet |= not is_first_process()
    view = _View(console, as_json=as_json)
    with view.running():
        trained = bamsearch.train(
            design,
            output=resume or output or "auto",
            resume=resume is not None,
            dry_run=dry_run,
            view=view,
            command=options.command_line(),
            **options.stated(values),
        )
    folder = view.planned.folder.path
    if dry_run:
        from bamsearch.training.folder import FILES

        console.finish({}, [folder / name for name in FILES], dry_run=True)
        return
    if not is_first_process():
        return
    if as_json:
        console.print_json(trained_json(trained, view.planned, folder))
    else:
        print_trained(console, trained)
    if view.shown is not None:
        console.note(f"\ntotal time {duration_text(view.shown.seconds)}")
    argument = shlex.quote(str(folder))
    steps = {
        "use": f"model = bamsearch.load({json.dumps(str(folder), ensure_ascii=False)})",
        "export": f"bamsearch export {argument} --format onnx",
    }
    console.finish(steps, [folder / "model.safetensors", folder / "metrics.csv"])


class _View(TerminalView):
    def print_plan(self) -> None:
        design, initial = self.planned.design, self.planned.initial
        if not self.as_json and is_first_process():
            title = title_text(design, self.planned.data.facts)
            self.console.print(f"{title}\n{recipe_text(self.planned)}\n")
        if initial.fresh and design.init == "paper" and design.insertions:
            self.console.warn(
                "init paper scales features by about 1.5 at each site: trained weights must adapt "
                "first; 'bamsearch insert --init identity' preserves their output"
            )

    def continuing(self) -> tuple[str, Path]:
        path = self.planned.folder.path
        return f"bamsearch train --resume {shlex.quote(str(path))}", path

    @contextmanager
    def train(self, title: str, recipe: Recipe) -> Iterator[Watch]:
        with super().train(
            title_text(self.planned.design, self.planned.data.facts), recipe
        ) as watch:
            yield watch
