"""``bamsearch sites``: all sites for BAM in a model."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import click

from bamsearch.api.insertion import summarise_model
from bamsearch.attention.cost import bam_cost, effective_dilation
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import model_work
from bamsearch.graph.placement import why_not_paper
from bamsearch.records import Cost, ModelSummary, Site, Variant
from bamsearch.reporting.text import giga, map_text, shape_text
from bamsearch.text import printable


@options.command(
    "sites", examples=["bamsearch sites resnet101", "bamsearch sites timm:convnext_tiny --json"]
)
@options.model
@options.input_size
@options.num_classes
@options.data
@options.download
@options.reduction
@options.dilation
@options.variant
@click.option("--blocks/--no-blocks", default=True, help="Also show block outputs.  [default: yes]")
@options.json
@options.pass_console
def sites(
    console: Console,
    model: str,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    data: str | None,
    download: bool,
    reduction: int,
    dilation: int,
    variant: Variant,
    blocks: bool,
    as_json: bool,
) -> None:
    """Show all sites of MODEL, the cost of a BAM there, and the sites of the paper's rule."""
    with model_work(console, f"tracing {model}", model):
        summary = summarise_model(model, input_size, num_classes, data=data, download=download)
    shown = [site for site in summary.sites if blocks or site.kind != "block"]
    costs = [bam_cost(site, reduction, dilation, variant=variant) for site in shown]
    if as_json:
        console.print_json(_json(summary, shown, costs))
    else:
        _print(console, summary, shown, costs, f"r={reduction}, d={dilation}, variant {variant}")
        _print_same_dilations(console, shown, dilation)
    console.finish({"insert": f"bamsearch insert {shlex.quote(model)}"})


def _json(summary: ModelSummary, shown: list[Site], costs: list[Cost]) -> dict[str, object]:
    return {
        "model": summary.model,
        "input_shape": list(summary.input_shape),
        "part": summary.part,
        "part_input": list(summary.part_input),
        "sites": [
            asdict(site)
            | {"params": cost.params, "macs": cost.macs}
            | {"paper": why_not_paper(site, summary.sites) is None}
            | {"largest_dilation": max(site.height, site.width)}
            for site, cost in zip(shown, costs, strict=True)
        ],
    }


def _print(
    console: Console, summary: ModelSummary, shown: list[Site], costs: list[Cost], bam: str
) -> None:
    part = f" · {summary.part} gets {shape_text(summary.part_input)}" if summary.part else ""
    console.print(
        f"{printable(summary.model)} · {shape_text(summary.input_shape)}{part} · BAM with {bam}\n"
    )
    rows = [
        [
            site.name,
            map_text(site) + ("" if site.layout in ("NCHW", "NCTHW") else f" {site.layout}"),
            str(site.stride),
            site.kind,
            site.reducer or "",
            f"{cost.params:,}",
            giga(cost.macs),
            why_not_paper(site, summary.sites) or "yes",
        ]
        for site, cost in zip(shown, costs, strict=True)
    ]
    header = ["site", "feature map", "stride", "kind", "before", "+ params", "+ GFLOPs", "in paper"]
    console.table(header, rows, "lrrllrrl")
    console.print("\n  GFLOPs: 1 MAC = 1 FLOP (fvcore), norm and pooling included")


def _print_same_dilations(console: Console, shown: list[Site], dilation: int) -> None:
    """Name the sites where d >= max(H, W): such dilations all compute the same."""
    same = [site for site in shown if effective_dilation(site, dilation) != dilation]
    for size in sorted({max(site.height, site.width) for site in same}):
        names = [printable(site.name) for site in same if max(site.height, site.width) == size]
        few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        console.print(
            f"  At {few}, d={dilation} computes the same as d={size}: "
            "all outer taps fall into the padding."
        )
