"""What ``bamsearch profile`` says of networks: as text, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console
from bamsearch.cli.text import change, giga, mega, shape_text

if TYPE_CHECKING:
    from bamsearch.profile.compare import Measured, Profiled
    from bamsearch.records import DeviceFacts, Timing

CONVENTION = "1 MAC = 1 FLOP ({}), norm and pooling included"


def print_profile(console: Console, profiled: Sequence[Profiled], depth: int | None) -> None:
    """Print the comparison, the modules, and what was not counted."""
    _print_head(console, profiled)
    _print_counts(console, profiled)
    for number, in_mode in enumerate(profiled[0].measured):
        console.print()
        _print_times(console, profiled, number, in_mode)
    for one in profiled:
        levels = depth if depth is not None else int(len(profiled) == 1)
        if levels:
            console.print()
            _print_modules(console, one, levels)


def profile_csv(profiled: Sequence[Profiled]) -> str:
    """One row a network and mode, RFC 4180, units in the header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(
        ["network", "part", "input", "params", "macs", "conv_linear_macs", "activations"]
        + ["mode", "median_ms", "iqr_ms", "samples", "ratio", "ratio_low", "ratio_high"]
    )
    for one in profiled:
        counts = [
            one.subject.name,
            one.subject.part,
            "x".join(map(str, one.subject.input_shape)),
            one.cost.params,
            one.cost.macs,
            one.cost.conv_linear_macs,
            one.activations[""],
        ]
        for measured in one.measured or (None,):
            writer.writerow([*counts, *_csv_times(measured)])
    return text.getvalue().rstrip("\r\n")


def profile_json(profiled: Sequence[Profiled]) -> dict[str, Any]:
    """Everything that was measured, raw samples included; integers exact, times in ms."""
    return {
        "flop_convention": CONVENTION.format("fvcore"),
        "networks": [
            {
                "name": one.subject.name,
                "part": one.subject.part,
                "input_shape": list(one.subject.input_shape),
                "counter": one.cost.counter,
                "params": one.cost.params,
                "macs": one.cost.macs,
                "conv_linear_macs": one.cost.conv_linear_macs,
                "activations": one.activations[""],
                "uncounted": dict(one.cost.uncounted),
                "modules": {
                    path: {
                        "params": params,
                        "macs": one.cost.by_module.get(path, 0),
                        "activations": one.activations.get(path, 0),
                    }
                    for path, params in _module_params(one)
                },
                "measured": [_measured_json(measured) for measured in one.measured],
            }
            for one in profiled
        ],
    }


def _print_head(console: Console, profiled: Sequence[Profiled]) -> None:
    first = profiled[0]
    words = [shape_text(first.subject.input_shape)]
    timing = next((m.timing for one in profiled for m in one.measured if m.timing), None)
    if timing is not None:
        words += [_device_text(timing.device), f"batch {timing.batch_size}", timing.dtype]
        if timing.memory_format != "contiguous":
            words.append(timing.memory_format)
        words.append("forward and backward" if timing.train else "inference")
    parts = {one.subject.part for one in profiled} - {""}
    if parts:
        words.append(f"costs and times of {', '.join(sorted(parts))} alone")
    console.print(" · ".join(words) + "\n")


def _print_counts(console: Console, profiled: Sequence[Profiled]) -> None:
    base = profiled[0].cost
    rows = []
    for number, one in enumerate(profiled):
        now = one.cost
        rows.append(
            [
                one.subject.name,
                mega(now.params),
                change(base.params, now.params) if number else "",
                giga(now.macs),
                change(base.macs, now.macs) if number else "",
                giga(now.conv_linear_macs),
                mega(one.activations[""]),
            ]
        )
    header = ["", "params", "", "GFLOPs", "", "conv + linear", "activations"]
    console.table(header, rows, "lrrrrrr")
    console.print(f"  {CONVENTION.format(base.counter)}")
    for one in profiled:
        if one.cost.uncounted:
            names = ", ".join(f"{name} {times}×" for name, times in one.cost.uncounted.items())
            console.print(f"  not counted in {one.subject.name}: {names}")


def _print_times(
    console: Console, profiled: Sequence[Profiled], number: int, in_mode: Measured
) -> None:
    rows, troubles = [], []
    for one in profiled:
        measured = one.measured[number]
        if measured.timing is None:
            troubles.append(f"{one.subject.name}: not timed: {measured.trouble}")
            continue
        rows.append([one.subject.name, *_time_cells(measured.timing), _ratio_text(measured)])
    if rows:
        header = [in_mode.mode, "median ms", "IQR ms", "n", "", "ratio to the first, 95 %"]
        console.table(header, rows, "lrrrll")
    for trouble in troubles:
        console.print(f"  {trouble}")


def _time_cells(timing: Timing) -> list[str]:
    noisy = "noisy" if timing.noisy else ""
    return [f"{timing.median:.3f}", f"{timing.iqr:.3f}", str(len(timing.samples)), noisy]


def _ratio_text(measured: Measured) -> str:
    pair = measured.pair
    if pair is None:
        return ""
    text = f"{pair.ratio:.4f} [{pair.low:.4f}, {pair.high:.4f}]"
    return text if pair.distinguished else f"{text} not distinguished"


def _print_modules(console: Console, one: Profiled, depth: int) -> None:
    rows = [
        [
            "  " * path.count(".") + path if path else one.subject.name,
            f"{params:,}",
            giga(one.cost.by_module.get(path, 0)),
            f"{one.activations.get(path, 0):,}",
        ]
        for path, params in _module_params(one)
        if not path or path.count(".") < depth
    ]
    console.table(["module", "params", "GFLOPs", "activations"], rows, "lrrr")


def _module_params(one: Profiled) -> Iterator[tuple[str, int]]:
    for path, module in one.subject.module.named_modules():
        yield path, sum(parameter.numel() for parameter in module.parameters())


def _device_text(facts: DeviceFacts) -> str:
    if facts.threads is None:
        return facts.name
    return f"{facts.name}, {facts.threads} thread{'s' if facts.threads > 1 else ''}"


def _csv_times(measured: Measured | None) -> list[Any]:
    if measured is None:
        return [""] * 7
    if measured.timing is None:
        return [measured.mode, *[""] * 6]
    timing, pair = measured.timing, measured.pair
    ratio = ["", "", ""] if pair is None else [pair.ratio, pair.low, pair.high]
    return [measured.mode, timing.median, timing.iqr, len(timing.samples), *ratio]


def _measured_json(measured: Measured) -> dict[str, Any]:
    pair = measured.pair
    return {
        "mode": measured.mode,
        "trouble": measured.trouble,
        "timing": None if measured.timing is None else asdict(measured.timing),
        "median_ms": None if measured.timing is None else measured.timing.median,
        "noisy": None if measured.timing is None else measured.timing.noisy,
        "ratio": None if pair is None else [pair.low, pair.ratio, pair.high],
    }
