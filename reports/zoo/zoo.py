"""Insert BAM into every torchvision model and into one architecture of each timm family.

    make zoo-report

Each network is built with random weights, its sites are found, and the paper's placement is
inserted and compared with the original network by running both. A family is a timm name up to the
first digit or underscore; the smallest architecture represents it, at timm's default input size. If
timm publishes ``feature_info``, it is compared with the last map at each stride that bamsearch
considers a stage (stem, bottleneck, head): the same stride must have the same channels.

Writes ``README.md`` and ``zoo.csv`` next to this file. ``--only NAME`` prints a network without
writing files.
"""

from __future__ import annotations

import gc
import re
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pandas as pd
import timm
import torch
from rich.progress import track

from bamsearch import insert_bam
from bamsearch.errors import BamsearchError, NoSiteError
from bamsearch.graph.bams import is_attached
from bamsearch.graph.models import build_model, default_input_shape, model_names
from bamsearch.graph.placement import place
from bamsearch.graph.sites import find_sites

HERE = Path(__file__).parent
STAGES = ("stem", "bottleneck", "head")

GHOST = "timm's level ends before the stage does, where its blocks change their width"
EXPLAINED = {
    "timm:ghostnet_050": GHOST,
    "timm:ghostnetv3_050": GHOST,
    "timm:repghostnet_050": GHOST,
    "timm:hrnet_w18_small": "branches of all resolutions run side by side; only their ends are on "
    "every path",
    "timm:levit_128s": "timm's levels are tokens; the convolutions of its stem are maps",
    "timm:tresnet_m": "the stem moves 4x4 pixels into channels at once; timm calls that stride 2",
    "timm:vgg11": "its first fully connected layer is a 7x7 convolution over the whole map",
    "timm:xception41p": "timm's levels are the wide maps inside the strided blocks, before their "
    "stride",
}
"""Reasons for stages that differ from timm's ``feature_info``, by MODEL."""
HEAD = "a head convolution follows timm's last level"


@dataclass(frozen=True, slots=True)
class Row:
    """A network of the zoo.

    Attributes:
        model: MODEL of the network.
        input: input size, CxHxW.
        outcome: ``inserted``, ``no bottleneck`` or ``refused``.
        sites: the paper's placement.
        how: ``rewrite`` or ``attach``.
        stages: stride:channels of the stages.
        timm: the same from ``feature_info``, if timm has it.
        agrees: whether both agree; None without ``feature_info``.
        reason: reason why BAM was not inserted.
    """

    model: str
    input: str
    outcome: str
    sites: str = ""
    how: str = ""
    stages: str = ""
    timm: str = ""
    agrees: bool | None = None
    reason: str = ""


@click.command(help=__doc__)
@click.option("--only", multiple=True, help="A MODEL; repeatable.")
def main(only: tuple[str, ...]) -> None:
    """Check every network, or those in ``only``."""
    warnings.simplefilter("ignore")
    models = only or (*model_names(), *families())
    rows = []
    for model in track(models, description="networks", transient=True, disable=bool(only)):
        rows.append(check(model))
        gc.collect()
    if only:
        print(pd.DataFrame(map(asdict, rows)).T.to_string(header=False))
        return
    table = pd.DataFrame(map(asdict, rows), columns=[field.name for field in fields(Row)])
    table.to_csv(HERE / "zoo.csv", index=False)
    (HERE / "README.md").write_text(describe(rows), encoding="utf-8")
    print(describe(rows).partition("## Every")[0])


def families() -> list[str]:
    """The smallest architecture of each timm family that builds on the meta device."""
    smallest: dict[str, tuple[int, str]] = {}
    for name in track(timm.list_models(), description="timm's names", transient=True):
        try:
            with torch.device("meta"):
                built = timm.create_model(name)
        except Exception:
            continue
        size = sum(parameter.numel() for parameter in built.parameters())
        family = re.split(r"[\d_]", name)[0]
        smallest[family] = min(smallest.get(family, (size, name)), (size, name))
    return sorted(f"timm:{name}" for _, name in smallest.values())


def check(model: str) -> Row:
    """Find sites, insert the paper's placement, check it, compare with timm."""
    shape = default_input_shape(model)
    size = "x".join(map(str, shape))
    try:
        network = build_model(model, shape)
        sites = find_sites(network, shape)
        chosen = place(sites, "paper")
        inserted = insert_bam(network, shape, sites=[site.name for site in chosen])
    except NoSiteError as error:
        return Row(model, size, "no bottleneck", reason=str(error))
    except BamsearchError as error:
        return Row(model, size, "refused", reason=str(error))
    stages = {site.stride: site.channels for site in sites if site.kind in STAGES}
    published = feature_info(network)
    how = "attach" if is_attached(inserted) else "rewrite"
    return Row(
        model,
        size,
        "inserted",
        ", ".join(site.name for site in chosen),
        how,
        listed(stages),
        listed(published),
        agrees(stages, published),
    )


def feature_info(network: Any) -> dict[int, int]:
    """Channels by stride from timm; empty if timm does not publish them."""
    levels = getattr(network, "feature_info", None) or []
    levels = levels if isinstance(levels, list) else list(levels)
    return {int(level["reduction"]): int(level["num_chs"]) for level in levels}


def agrees(stages: dict[int, int], published: dict[int, int]) -> bool | None:
    """Whether channels agree at all strides from timm's first level on; None without levels."""
    if not published:
        return None
    lowest = min(published)
    return {stride: c for stride, c in stages.items() if stride >= lowest} == published


def explained(row: Row) -> str:
    """Reason why the stages differ; empty if unexplained."""
    ours, theirs = row.stages.split(), row.timm.split()
    # A stem that timm does not list does not count as a difference.
    after_first = [
        level for level in ours if int(level.split(":")[0]) >= int(theirs[0].split(":")[0])
    ]
    same_stride = after_first[-1].split(":")[0] == theirs[-1].split(":")[0]
    if after_first[:-1] == theirs[:-1] and same_stride:
        return HEAD
    return EXPLAINED.get(row.model, "")


def listed(levels: dict[int, int]) -> str:
    """For example ``4:256 8:512``."""
    return " ".join(f"{stride}:{channels}" for stride, channels in sorted(levels.items()))


def describe(rows: list[Row]) -> str:
    """The page."""
    compared = [row for row in rows if row.agrees is not None]
    differ = [row for row in compared if not row.agrees]
    unexplained = [row for row in differ if not explained(row)]
    outcomes = Counter(row.outcome for row in rows)
    hows = Counter(row.how for row in rows if row.how)
    lines = [
        "# The zoo",
        "",
        f"BAM in {len(rows)} networks: torchvision {version('torchvision')}, all models; timm "
        f"{version('timm')}, the smallest architecture of each family. Made by `make zoo-report`; "
        "every row is in zoo.csv.",
        "",
        f"- inserted and checked by running: {outcomes['inserted']} "
        f"({hows['rewrite']} rewritten, {hows['attach']} attached)",
        f"- without a spatial bottleneck: {outcomes['no bottleneck']}",
        f"- refused: {outcomes['refused']}",
        f"- stages compared with timm's feature_info: {len(compared)}, "
        f"{len(compared) - len(differ)} agree, {len(differ) - len(unexplained)} differ for a "
        f"reason below, {len(unexplained)} are unexplained",
        "",
        "## Stages that differ from timm's",
        "",
        "| Network | bamsearch | timm | reason |",
        "| --- | --- | --- | --- |",
        *(f"| {row.model} | {row.stages} | {row.timm} | {explained(row)} |" for row in differ),
        "",
        "## Not inserted",
        "",
        "| Network | outcome | reason |",
        "| --- | --- | --- |",
        *(f"| {r.model} | {r.outcome} | {cell(r.reason)} |" for r in rows if r.how == ""),
        "",
        "## Every network",
        "",
        "| Network | input | BAM at | how | stages, stride:channels |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {r.model} | {r.input} | {r.sites} | {r.how} | {r.stages} |" for r in rows if r.how),
    ]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text in a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
