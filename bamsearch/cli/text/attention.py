"""Text and JSON output of ``bamsearch attention``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.reporting.text import shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.api.attention import MapNumbers, PhotographMaps, ShownNetwork, Spread

KEY = """\
  M_c and M_s after the sigmoid, M over all channels: minimum, mean and maximum.
  The peak of M_s is x, y in the upright photograph."""


def print_attention(
    console: Console, networks: Sequence[ShownNetwork], shown: Sequence[PhotographMaps]
) -> None:
    """Print one table per photograph."""
    several = len(networks) > 1
    for network in networks:
        console.print(f"{f'{network.label}: ' if several else ''}{network.description}")
    gated = any(row.gate is not None for item in shown for row in item.numbers)
    header = ["site", "feature map", "r", "d"] + ["gate"] * gated
    header = ["network"] * several + header + ["M_c", "M_s", "M", "M_s peaks at"]
    align = "l" * several + "lrrr" + "r" * gated + "llll"
    for item in shown:
        seen = shape_text(item.framed[0].picture.size)
        console.print(f"\n{printable(str(item.path))} · {shape_text(item.size)}, seen as {seen}\n")
        rows = [_row(row, several=several, gated=gated) for row in item.numbers]
        console.table(header, rows, align)
    console.print(KEY)


def attention_json(
    networks: Sequence[ShownNetwork],
    shown: Sequence[PhotographMaps],
    seed: int,
) -> dict[str, Any]:
    """The output of ``attention --json``."""
    return {
        "seed": seed,
        "networks": [_network_json(network) for network in networks],
        "images": [
            {
                "path": str(item.path),
                "width": item.size[0],
                "height": item.size[1],
                "sheet": None if item.sheet is None else str(item.sheet),
                "maps": [_map_json(item, row, networks) for row in item.numbers],
            }
            for item in shown
        ],
    }


def _row(row: MapNumbers, *, several: bool, gated: bool) -> list[str]:
    gate = [] if not gated else ["–" if row.gate is None else f"{row.gate:.3g}"]
    peak = "nowhere" if row.peak is None else f"{row.peak[0]:.0f}, {row.peak[1]:.0f}"
    return [
        *([row.network] if several else []),
        row.site,
        shape_text(row.map_shape),
        str(row.reduction),
        str(row.dilation),
        *gate,
        *(_three(spread) for spread in (row.m_c, row.m_s, row.m)),
        peak,
    ]


def _three(spread: Spread) -> str:
    return f"{spread.min:.3f} {spread.mean:.3f} {spread.max:.3f}"


def _network_json(network: ShownNetwork) -> dict[str, Any]:
    return {
        "label": network.label,
        "design": network.source,
        "model": network.design.model,
        "input_shape": list(network.design.input_shape),
        "variant": network.design.variant,
        "init": network.design.init,
        "weights": None if network.weights is None else str(network.weights),
        "mean": list(network.mean),
        "std": list(network.std),
    }


def _map_json(
    item: PhotographMaps, row: MapNumbers, networks: Sequence[ShownNetwork]
) -> dict[str, Any]:
    number = [network.label for network in networks].index(row.network)
    framed = item.framed[number]
    width, height = framed.picture.size
    return asdict(row) | {"seen": {"width": width, "height": height, "box": framed.box}}
