"""The picture of a network as plain values: its stages, their sites, and what was inserted where.

:mod:`bamsearch.report.network_svg` and :mod:`bamsearch.report.network_text` draw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from bamsearch.graph.placement import place
from bamsearch.records import Insertion, ModelSummary, RunRecord, Site
from bamsearch.report.text import count_text, option_text, shape_text
from bamsearch.text import printable


@dataclass(frozen=True, slots=True)
class PlacedSite:
    """A site of the picture.

    Attributes:
        site: the site.
        insertion: the BAM after it; None where there is none.
        label: its name, printable, without what its stage's label says already: ``.5``.
    """

    site: Site
    insertion: Insertion | None
    label: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Sites up to the next spatial reduction.

    Attributes:
        label: ``layer3``, ``stem``, or a range of sites: ``features.8–13``.
        sites: at least one, in network order; the reduction follows the last.
        reducer: what shrinks the map after it; empty where the next stage's label says so, or
            where nothing does.
    """

    label: str
    sites: tuple[PlacedSite, ...]
    reducer: str

    @property
    def channels(self) -> str:
        """C of its maps: ``256``, or from the least to the most: ``64–96``."""
        found = [placed.site.channels for placed in self.sites]
        low, high = min(found), max(found)
        return str(low) if low == high else f"{low}–{high}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """(H, W) of its last map, (T, H, W) of a video's."""
        last = self.sites[-1].site
        return (*(() if last.frames is None else (last.frames,)), last.height, last.width)


@dataclass(frozen=True, slots=True)
class NetworkPicture:
    """A network and the BAMs in it.

    Attributes:
        summary: the network.
        stages: none where the network has no site.
    """

    summary: ModelSummary
    stages: tuple[Stage, ...]

    @property
    def sites(self) -> tuple[PlacedSite, ...]:
        """All sites, in network order."""
        return tuple(placed for stage in self.stages for placed in stage.sites)

    @property
    def heading(self) -> str:
        """``resnet101 · 3×224×224``, and which part of a detector is shown."""
        summary = self.summary
        parts = [summary.model, shape_text(summary.input_shape)]
        if summary.part:
            parts.append(f"{summary.part} gets {shape_text(summary.part_input)}")
        return printable(" · ".join(parts))

    @property
    def title(self) -> str:
        """``resnet101: BAM at 2 of 32 sites``."""
        taken = sum(placed.insertion is not None for placed in self.sites)
        sites = count_text(len(self.sites), "site")
        return printable(f"{self.summary.model}: BAM at {taken:,} of {sites}")

    @property
    def description(self) -> str:
        """The picture in words: the stages, then each BAM."""
        stages = [
            f"{stage.label} {stage.channels}×{shape_text(stage.sizes)}" for stage in self.stages
        ]
        bams = [
            f"{printable(placed.site.name)} {option_text(placed.insertion)}"
            for placed in self.sites
            if placed.insertion is not None
        ]
        return (
            f"{self.heading}. "
            f"Stages: {', '.join(stages) or 'none, the map keeps one resolution'}. "
            f"BAM after: {', '.join(bams) or 'no site'}."
        )


def found_picture(record: RunRecord) -> NetworkPicture:
    """The picture of what a run found, or of the base as long as that is nothing."""
    best = record.best
    return network_picture(record.run.summary, () if best is None else best.design.insertions)


def network_picture(summary: ModelSummary, insertions: Sequence[Insertion]) -> NetworkPicture:
    """The picture of a network with BAMs.

    Args:
        summary: the network.
        insertions: its BAMs, in any order; none for the base.

    Raises:
        InvalidValueError: an insertion at a site that the network does not have.
    """
    place(summary.sites, [insertion.site for insertion in insertions])
    there = {insertion.site: insertion for insertion in insertions}
    groups = list(_groups(summary.sites))
    prefix = f"{summary.part}."
    within = _sites_within(summary.sites)
    labels = [printable(_stage_label(group, within).removeprefix(prefix)) for group in groups]
    stages = []
    for group, label, following in zip(groups, labels, [*labels, ""][1:], strict=True):
        placed = tuple(
            PlacedSite(site, there.get(site.name), _within(site.name.removeprefix(prefix), label))
            for site in group
        )
        reducer = printable((group[-1].reducer or "").removeprefix(prefix))
        stages.append(Stage(label, placed, "" if reducer == following else _last_part(reducer)))
    return NetworkPicture(summary, tuple(stages))


def shorten(text: str, cells: int) -> str:
    """The text in at most so many terminal cells, an ellipsis for its middle where it is longer.

    Args:
        text: printable.
        cells: fewer than 3 count as 3.
    """
    cells = max(cells, 3)
    if cell_len(text) <= cells:
        return text
    room = (cells - 1) // 2
    tail = text[-room:]
    while cell_len(tail) > room:
        tail = tail[1:]
    return f"{set_cell_size(text, cells - 1 - room).rstrip()}…{tail}"


def name_range(first: str, last: str) -> str:
    """``features.8–13``, ``inception4a–4e``: what both names begin with is said once."""
    if first == last:
        return first
    cuts = (cut for cut in range(1, len(last)) if _is_cut(first, last, cut))
    return f"{first}–{last[max(cuts, default=0) :]}"


def _groups(sites: Sequence[Site]) -> Iterator[list[Site]]:
    """The sites of each stage: a stem or a bottleneck is the last before a reduction.

    Necks, the maps of a decoder, are a stage for each size.
    """
    group: list[Site] = []
    for site in sites:
        before = group[-1] if group else site
        if site.kind == "neck" and (before.kind, before.height) != ("neck", site.height) and group:
            yield group
            group = []
        group.append(site)
        if site.kind in ("stem", "bottleneck"):
            yield group
            group = []
    if group:
        yield group


def _sites_within(sites: Sequence[Site]) -> dict[str, list[str]]:
    """The sites inside each site's module, by the site's name; none for most."""
    within: dict[str, list[str]] = {site.name: [] for site in sites}
    for site in sites:
        for dot in re.finditer(r"\.", site.name):
            outer = within.get(site.name[: dot.start()])
            if outer is not None:
                outer.append(site.name)
    return within


def _stage_label(group: Sequence[Site], within: Mapping[str, Sequence[str]]) -> str:
    """The module that holds the whole stage and nothing before it, else a range of its sites."""
    names = [site.name for site in group]
    *inner, last = names
    if group[-1].kind == "stem" and not inner:
        return "stem"
    held = within[last]
    if inner and held == inner:
        return last
    if inner and set(inner) <= set(held):
        names = inner
    return name_range(names[0], names[-1])


def _is_cut(first: str, last: str, cut: int) -> bool:
    """Whether both begin alike up to here, and the rest of the last cannot be misread."""
    if first[:cut] != last[:cut]:
        return False
    before = last[cut - 1]
    if last[cut].isdigit():
        # of features.4.1 to features.5 a bare 5 would be features.4.5
        return not before.isdigit() and first.count(".", cut) == last.count(".", cut)
    return before == "."


def _within(name: str, label: str) -> str:
    """``.5`` of ``layer3.5`` in ``layer3``."""
    name = printable(name)
    return name[len(label) :] if name.startswith(f"{label}.") else name


def _last_part(name: str) -> str:
    """``transition1`` of ``features.transition1``; a number says nothing by itself."""
    last = name.rpartition(".")[2]
    return name if last.isdigit() else last
