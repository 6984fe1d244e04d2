"""What ``bamsearch attention`` prints: numbers for people, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.report.text import shape_text
from bamsearch.text import printable

if TYPE_CHECKING:
    from bamsearch.cli.attention_networks import Network
    from bamsearch.cli.attention_show import Numbers, Shown, Spread

KEY = """\
  M_c and M_s after the sigmoid, M over all channels: least, mean and greatest value.
  The peak of M_s is x, y in the upright photograph."""


def print_attention(console: Console, networks: Sequence[Network], shown: Sequence[Shown]) -> None:
    """Print a table for each photograph."""
    several = len(networks) > 1
    for network in networks:
        console.print(f"{f'{network.label}: ' if several else ''}{network.about}")
    gated = any(row.gate is not None for one in shown for row in one.numbers)
    header = ["site", "feature map", "r", "d"] + ["gate"] * gated
    header = ["network"] * several + header + ["M_c", "M_s", "M", "M_s peaks at"]
    align = "l" * several + "lrrr" + "r" * gated + "llll"
    for one in shown:
        photograph = one.photograph
        seen = shape_text(photograph.framed[0].picture.size)
        console.print(
            f"\n{printable(str(photograph.path))} · {shape_text(photograph.size)}, seen as {seen}\n"
        )
        rows = [_row(row, several=several, gated=gated) for row in one.numbers]
        console.table(header, rows, align)
    console.print(KEY)


def attention_json(
    networks: Sequence[Network], shown: Sequence[Shown], sheets: Sequence[Path], seed: int
) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "seed": seed,
        "networks": [_network_json(network) for network in networks],
        "images": [
            {
                "path": str(one.photograph.path),
                "width": one.photograph.size[0],
                "height": one.photograph.size[1],
                "sheet": str(sheets[number]) if sheets else None,
                "maps": [_map_json(one, row, networks) for row in one.numbers],
            }
            for number, one in enumerate(shown)
        ],
    }


def _row(row: Numbers, *, several: bool, gated: bool) -> list[str]:
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


def _network_json(network: Network) -> dict[str, Any]:
    asked = network.asked
    return {
        "label": network.label,
        "design": asked.word,
        "model": asked.design.model,
        "input_shape": list(asked.design.input_shape),
        "variant": asked.design.variant,
        "init": asked.design.init,
        "weights": None if network.weights is None else str(network.weights),
        "mean": list(asked.mean),
        "std": list(asked.std),
    }


def _map_json(one: Shown, row: Numbers, networks: Sequence[Network]) -> dict[str, Any]:
    number = [network.label for network in networks].index(row.network)
    framed = one.photograph.framed[number]
    width, height = framed.picture.size
    return asdict(row) | {"seen": {"width": width, "height": height, "box": framed.box}}
