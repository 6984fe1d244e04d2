"""Text and JSON output of ``bamsearch insert``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bamsearch.attention.cost import effective_dilation
from bamsearch.cli.console import Console
from bamsearch.graph.placement import why_not_paper
from bamsearch.profiling.costs import DesignCost
from bamsearch.records import Cost, Design, ModelSummary
from bamsearch.reporting.text import change, giga, map_text, mega, shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.api.insertion import InsertResult
    from bamsearch.graph.base import Inserted

_SITE_KEYS = ("name", "channels", "height", "width", "stride", "kind")

CONVENTION = "1 MAC = 1 FLOP (fvcore), norm and pooling included"


def insert_json(result: InsertResult) -> dict[str, Any]:
    """The output of ``insert --json``: exact integers; ``macs`` is fvcore's total."""
    summary, design, cost, inserted = result.summary, result.design, result.cost, result.inserted
    return {
        "model": summary.model,
        "input_shape": list(summary.input_shape),
        "part": summary.part,
        "part_input": list(summary.part_input),
        "variant": design.variant,
        "init": design.init,
        "how": design.how,
        "why_attached": inserted.why if inserted else None,
        "compared": inserted.compared if inserted else None,
        "flop_convention": CONVENTION,
        "counter": cost.base.counter,
        "base": _numbers(cost.base),
        "bam": _numbers(cost.total),
        "added": _numbers(cost.added),
        "sites": [
            {key: getattr(site, key) for key in _SITE_KEYS}
            | {"reduction": insertion.reduction, "dilation": insertion.dilation}
            | {"params": added.params, "macs": added.macs}
            for site, insertion, added in cost.inserted
        ],
    }


def print_insertion(console: Console, result: InsertResult) -> None:
    """Print the sites, the totals and the numbers that torchvision publishes."""
    summary, design, cost = result.summary, result.design, result.cost
    weights = f"weights {printable(result.loaded.source)}" if result.loaded else "random weights"
    console.print(
        f"{printable(summary.model)} · {shape_text(summary.input_shape)} · {weights} · "
        f"BAM variant {design.variant}, init {design.init}"
    )
    how = _how(design, result.inserted)
    console.print(f"{how}\n" if how else "")
    _print_sites(console, summary, cost)
    console.print()
    base, total = cost.base, cost.total
    rows = [
        ["params", mega(base.params), mega(total.params), change(base.params, total.params)],
        ["GFLOPs", giga(base.macs), giga(total.macs), change(base.macs, total.macs)],
    ]
    console.table(["", "base", "+ BAM", "change"], rows, "lrrr")
    for line in _remarks(summary, cost):
        console.print(f"  {line}")


def _how(design: Design, inserted: Inserted | None) -> str:
    """Method of insertion, checks, and why rewriting failed, if it did."""
    participle = {"rewrite": "rewritten", "attach": "attached"}
    if inserted is None:
        return "" if design.how == "auto" else f"to be {participle[design.how]}"
    checks = {
        "values": "equal to the base with all BAMs closed",
        "shapes": "too large to run: shapes were compared, values were not",
    }
    check = checks.get(inserted.compared or "", "not checked: the base does not run on images")
    reason = f"\nnot rewritten: {printable(inserted.why)}" if inserted.why else ""
    return f"{participle.get(inserted.how, 'no BAM')}, {check}{reason}"


def _print_sites(console: Console, summary: ModelSummary, cost: DesignCost) -> None:
    rows = [
        [
            site.name,
            map_text(site),
            str(site.stride),
            site.reducer or "",
            str(insertion.reduction),
            str(insertion.dilation),
            f"{added.params:,}",
            giga(added.macs),
        ]
        for site, insertion, added in cost.inserted
    ]
    header = ["site", "feature map", "stride", "before", "r", "d", "+ params", "+ GFLOPs"]
    console.table(header, rows, "lrrlrrrr")
    used = {site.name for site, _, _ in cost.inserted}
    unused = [
        f"{printable(site.name)} {map_text(site)} ({why})"
        for site in summary.sites
        if site.name not in used and site.kind != "block"
        for why in [why_not_paper(site, summary.sites) or site.kind]
    ]
    if unused:
        console.print(f"  not used: {' · '.join(unused)}")


def _remarks(summary: ModelSummary, cost: DesignCost) -> list[str]:
    lines = [f"{CONVENTION.replace('(fvcore)', f'({cost.base.counter})')}{_published(summary)}"]
    if not summary.part and summary.published_params not in (None, cost.base.params):
        lines.append(
            f"torchvision publishes {mega(summary.published_params or 0)} params: there, auxiliary "
            "heads, which only training uses, are counted otherwise."
        )
    if summary.part:
        lines.append(
            f"Costs are of {summary.part} at {shape_text(summary.part_input)}, what the model "
            "gives it; the rest depends on the image."
        )
    lines += [
        f"At {printable(site.name)}, d={insertion.dilation} computes the same as "
        f"d={effective_dilation(site, insertion.dilation)}: every outer tap falls in the padding."
        for site, insertion, _ in cost.inserted
        if effective_dilation(site, insertion.dilation) != insertion.dilation
    ]
    return [*lines, "Dilation changes neither number. Latency was not measured."]


def _published(summary: ModelSummary) -> str:
    """The published GFLOPs of the base, compared with ours."""
    if summary.published_gmacs is None or summary.part:
        return ""
    ours = summary.base.conv_linear_macs / 1e9
    same = round(ours, 3) == summary.published_gmacs
    published = f"torchvision: {summary.published_gmacs:.3f}, conv + linear only"
    return (
        f" ({published})" if same else f" ({published}; ours without norm and pooling: {ours:.3f})"
    )


def _numbers(cost: Cost) -> dict[str, int]:
    return {key: getattr(cost, key) for key in ("params", "macs", "conv_linear_macs")}
