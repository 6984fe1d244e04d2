"""The picture of a network as plain values: stages, sites and insertions.

:mod:`bamsearch.reporting.network_svg` and :mod:`bamsearch.reporting.network_text` draw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from bamsearch.graph.placement import place
from bamsearch.records import Insertion, ModelSummary, RunRecord, Site
from bamsearch.reporting.text import count_text, option_text, shape_text
from bamsearch.text import printable


@dataclass(frozen=True, slots=True)
class PlacedSite:
    """A site of the picture.

    Attributes:
        insertion: the BAM after the site, if any.
        label: name of the site, printable, without the part that is its stage's label: ``.5``.
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
        reducer: module that shrinks the map after the stage; empty if it is the next stage's label,
            or if nothing shrinks the map.
    """

    label: str
    sites: tuple[PlacedSite, ...]
    reducer: str

    @property
    def channels(self) -> str:
        """C of its maps: ``256``, or the range ``64–96``."""
        channels = [placed.site.channels for placed in self.sites]
        low, high = min(channels), max(channels)
        return str(low) if low == high else f"{low}–{high}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """(H, W) of its last map; (T, H, W) for video."""
        last = self.sites[-1].site
        return (*(() if last.frames is None else (last.frames,)), last.height, last.width)


@dataclass(frozen=True, slots=True)
class NetworkPicture:
    """A network and the BAMs in it.

    Attributes:
        summary: the network.
        stages: empty if the network has no site.
    """

    summary: ModelSummary
    stages: tuple[Stage, ...]

    @property
    def sites(self) -> tuple[PlacedSite, ...]:
        """All sites, in network order."""
        return tuple(placed for stage in self.stages for placed in stage.sites)

    @property
    def input_name(self) -> str:
        """``image``, ``clip``, or ``input`` of a part of a detector."""
        if self.summary.part:
            return "input"
        return "image" if len(self.summary.part_input) == 3 else "clip"

    @property
    def heading(self) -> str:
        """``resnet101 · 3×224×224``, and the part of a detector that is shown."""
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
    """The picture of a run's best design, or of the base if there is none yet."""
    best = record.best
    return network_picture(record.run.summary, () if best is None else best.design.insertions)


def network_picture(summary: ModelSummary, insertions: Sequence[Insertion]) -> NetworkPicture:
    """The picture of a network with BAMs.

    Args:
        summary: the network.
        insertions: its BAMs, in any order; empty for the base.

    Raises:
        InvalidValueError: an insertion at a site that the network does not have.
    """
    place(summary.sites, [insertion.site for insertion in insertions])
    by_site = {insertion.site: insertion for insertion in insertions}
    groups = list(_groups(summary.sites))
    prefix = f"{summary.part}."
    within = _sites_within(summary.sites)
    labels = [printable(_stage_label(group, within).removeprefix(prefix)) for group in groups]
    stages = []
    for group, label, following in zip(groups, labels, [*labels, ""][1:], strict=True):
        placed = tuple(
            PlacedSite(site, by_site.get(site.name), _within(site.name.removeprefix(prefix), label))
            for site in group
        )
        reducer = printable((group[-1].reducer or "").removeprefix(prefix))
        stages.append(Stage(label, placed, "" if reducer == following else _last_part(reducer)))
    return NetworkPicture(summary, tuple(stages))


def shorten(text: str, cells: int) -> str:
    """The text in at most ``cells`` terminal cells; an ellipsis replaces the middle if necessary.

    Args:
        text: printable text.
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
    """``features.8–13``, ``inception4a–4e``: a range of names without their common prefix."""
    if first == last:
        return first
    cuts = (cut for cut in range(1, len(last)) if _is_cut(first, last, cut))
    return f"{first}–{last[max(cuts, default=0) :]}"


def _groups(sites: Sequence[Site]) -> Iterator[list[Site]]:
    """The sites of each stage; a stem or a bottleneck ends a stage.

    Necks, the maps of a decoder, form one stage per size.
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
    """The sites inside each site's module, by the site's name; empty for most."""
    within: dict[str, list[str]] = {site.name: [] for site in sites}
    for site in sites:
        for dot in re.finditer(r"\.", site.name):
            outer = within.get(site.name[: dot.start()])
            if outer is not None:
                outer.append(site.name)
    return within


def _stage_label(group: Sequence[Site], within: Mapping[str, Sequence[str]]) -> str:
    """The module that contains exactly the stage, otherwise the range of its sites."""
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
    """Whether both names share a prefix up to ``cut``, and the rest of ``last`` is unambiguous."""
    if first[:cut] != last[:cut]:
        return False
    before = last[cut - 1]
    if last[cut].isdigit():
        # From features.4.1 to features.5, a bare 5 would read as features.4.5.
        return not before.isdigit() and first.count(".", cut) == last.count(".", cut)
    return before == "."


def _within(name: str, label: str) -> str:
    """``.5`` of ``layer3.5`` in ``layer3``."""
    name = printable(name)
    return name[len(label) :] if name.startswith(f"{label}.") else name


def _last_part(name: str) -> str:
    """``transition1`` of ``features.transition1``; the whole name if the last part is a number."""
    last = name.rpartition(".")[2]
    return name if last.isdigit() else last
