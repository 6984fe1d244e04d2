"""``bamsearch export``: exports a design to a file that runs without bamsearch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import announce_code_of
from bamsearch.files import check_output_file
from bamsearch.reporting.text import shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.export.attempts import Exported
    from bamsearch.export.formats import ExportFormat

FORMATS = ("onnx", "pt2")

USE = {
    "onnx": 'onnxruntime.InferenceSession("{path}")',
    "pt2": 'network = torch.export.load("{path}").module()',
}
"""Code that loads an exported file, by format."""


@options.command(
    "export",
    examples=[
        "bamsearch export r50-bam --format onnx",
        "bamsearch export r50-bam --weights trained.safetensors -o r50.pt2",
        "bamsearch export r50-bam/design.json --batch-size 8 --json",
    ],
)
@click.argument("design", metavar="DESIGN", type=click.Path())
@options.choice(
    "--format",
    "chosen",
    choices=FORMATS,
    help="onnx, or PyTorch's pt2.  [default: by the suffix of -o, else onnx]",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="state_dict of the network with BAM.  [default: model.safetensors beside DESIGN]",
)
@options.count("--batch-size", shown="any", help="Batch size.")
@options.seed
@options.json
@options.output("File to write.  [default: MODEL-bam.FORMAT in this folder]")
@options.pass_console
def export(
    console: Console,
    design: str,
    chosen: ExportFormat | None,
    weights: Path | None,
    batch_size: int | None,
    seed: int,
    as_json: bool,
    output: Path | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Export DESIGN to a file that runs without bamsearch.

    DESIGN is a design.json, a folder with one, a search run (its best design), or RUN@K (its
    K-th best).

    The exported file is loaded and compared with PyTorch.
    """
    format: ExportFormat = chosen or ("pt2" if output and output.suffix == ".pt2" else "onnx")
    check_output_file(output, force=force)
    with console.progress(f"exporting {design} to {format} and comparing"):
        from bamsearch.export.network import export_network

        path = output or _default_path(design, format)
        check_output_file(path, force=force)
        announce_code_of(console, design)
        target = None if dry_run else path
        exported = export_network(
            design, target, format, weights=weights, batch=batch_size, seed=seed, force=force
        )
    if exported.weights is None:
        console.warn(
            f"{design} has no weights: the exported weights are random (seed {seed}), good only "
            "for timing; --weights FILE loads trained weights"
        )
    if exported.note:
        console.warn(f"the batch is fixed at {exported.batch}: {exported.note}")
    if as_json:
        console.print_json(_json(exported, path, seed))
    else:
        _print(console, exported, path)
    console.finish({"use": USE[format].format(path=path)}, [path], dry_run=dry_run)


def _default_path(design: str, format: str) -> Path:
    """The default path, such as ``resnet18-bam.onnx`` in the current folder."""
    from bamsearch.graph.designs import find_design

    record, _ = find_design(design)
    name = record.model.rpartition(":")[2]
    return Path(f"{name}{'-bam' if record.insertions else ''}.{format}")


def _json(exported: Exported, path: Path, seed: int) -> dict[str, Any]:
    from bamsearch.export.comparison import TOLERANCE

    return {
        "model": exported.design.model if exported.design else None,
        "path": str(path),
        "format": exported.format,
        "opset": exported.opset,
        "bytes": exported.size,
        "input": {"name": exported.input_name, "shape": list(exported.input_shape)},
        "outputs": [
            {"name": name, "shape": list(shape)} for name, shape in exported.outputs.items()
        ],
        "batch": exported.batch,
        "dynamic_batch": exported.dynamic_batch,
        "note": exported.note,
        "weights": None if exported.weights is None else str(exported.weights),
        "seed": seed,
        "compared_at": list(exported.compared_at),
        "max_abs_diff": exported.max_abs_diff,
        "max_rel_diff": exported.max_rel_diff,
        "tolerance": TOLERANCE,
    }


def _print(console: Console, exported: Exported, path: Path) -> None:
    batch = "N" if exported.batch is None else str(exported.batch)
    difference = "none, bit for bit"
    if exported.max_abs_diff:
        difference = (
            f"{exported.max_abs_diff:.1e}, {exported.max_rel_diff:.1e} of the largest value"
        )
    runner = "torch.export" if exported.format == "pt2" else "onnxruntime"
    opset = f", opset {exported.opset}" if exported.opset else ""
    at = " and ".join(map(str, exported.compared_at))
    if exported.design is not None:
        design = exported.design
        sites = ", ".join(printable(i.site) for i in design.insertions) or "no site"
        console.print(
            f"{printable(design.model)} · {shape_text(design.input_shape)} · BAM at {sites}\n"
        )
    rows = [
        ["file", f"{path} ({exported.size / 1e6:.1f} MB)"],
        ["format", f"{exported.format}{opset}"],
        ["weights", "random" if exported.weights is None else str(exported.weights)],
        ["batch", "any" if exported.batch is None else f"{exported.batch} only"],
        ["input", f"{exported.input_name} {batch}×{shape_text(exported.input_shape)}"],
        *(
            ["output", f"{name} {'×'.join([batch, *map(str, shape)])}"]
            for name, shape in exported.outputs.items()
        ),
        ["checked", f"{runner} against PyTorch on random inputs, batch {at}"],
        ["difference", difference],
    ]
    console.table(["", ""], rows, "ll")
