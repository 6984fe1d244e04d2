"""Text, CSV and JSON output of ``bamsearch profile``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bamsearch.cli.console import Console, with_options
from bamsearch.reporting.text import change, giga, map_text, mega, shape_text
from bamsearch.text import csv_file_text, printable, size_text

if TYPE_CHECKING:
    from bamsearch.profiling.compare import Measured, Profiled
    from bamsearch.records import DeviceFacts, LatencyTable, Memory

CSV_COLUMNS = (
    *("network", "part", "input", "params", "macs", "conv_linear_macs", "activations"),
    *("mode", "median_ms", "iqr_ms", "samples", "ratio", "ratio_low", "ratio_high"),
)

CONVENTION = "1 MAC = 1 FLOP ({}), norm and pooling included"


def print_profile(console: Console, profiled: Sequence[Profiled], depth: int | None) -> None:
    """Print the comparison, the modules and the uncounted operations."""
    _print_head(console, profiled)
    _print_counts(console, profiled)
    for number, in_mode in enumerate(profiled[0].measured):
        console.print()
        _print_times(console, profiled, number, in_mode)
    _print_memory(console, profiled)
    for network in profiled:
        levels = depth if depth is not None else int(len(profiled) == 1)
        if levels:
            console.print()
            _print_modules(console, network, levels)
    if profiled[0].latency_table is not None:
        _print_latency(console, profiled[0].latency_table, profiled)


def profile_csv(profiled: Sequence[Profiled]) -> str:
    """One row per network and mode, RFC 4180, with units in the header."""
    rows = [
        [
            network.subject.name,
            network.subject.part,
            size_text(network.subject.input_shape),
            network.cost.params,
            network.cost.macs,
            network.cost.conv_linear_macs,
            network.activations[""],
            *_csv_times(measured),
            *([network.predicted_ms] if network.latency_table else []),
        ]
        for network in profiled
        for measured in network.measured or (None,)
    ]
    predicted = ("predicted_ms",) if profiled[0].latency_table else ()
    return csv_file_text((*CSV_COLUMNS, *predicted), rows)


def profile_json(profiled: Sequence[Profiled]) -> dict[str, Any]:
    """All measurements with raw samples; exact integers, times in ms."""
    table = profiled[0].latency_table
    return {
        "flop_convention": CONVENTION.format("fvcore"),
        "networks": [
            {
                "name": network.subject.name,
                "part": network.subject.part,
                "input_shape": list(network.subject.input_shape),
                "counter": network.cost.counter,
                "params": network.cost.params,
                "macs": network.cost.macs,
                "conv_linear_macs": network.cost.conv_linear_macs,
                "activations": network.activations[""],
                "uncounted": dict(network.cost.uncounted),
                "modules": {
                    path: {
                        "params": params,
                        "macs": network.cost.by_module.get(path, 0),
                        "activations": network.activations.get(path, 0),
                    }
                    for path, params in _module_params(network)
                },
                "measured": [_measured_json(measured) for measured in network.measured],
                "memory": [asdict(memory) for memory in network.memory],
            }
            for network in profiled
        ],
        **({} if table is None else {"latency_table": _latency_json(table, profiled)}),
    }


def _latency_json(table: LatencyTable, profiled: Sequence[Profiled]) -> dict[str, Any]:
    return {
        "base_ms": table.base_ms,
        "predicted_ms": _predictions(profiled),
        "error": table.error and asdict(table.error),
    }


def _predictions(profiled: Sequence[Profiled]) -> dict[str, float]:
    """Predicted milliseconds by the name of the design."""
    predicted = ((network.subject.name, network.predicted_ms) for network in profiled)
    return {name: ms for name, ms in predicted if ms is not None}


def _print_latency(console: Console, table: LatencyTable, profiled: Sequence[Profiled]) -> None:
    """Print the predictions of a latency table and its error."""
    console.print()
    rows = [["base", f"{table.base_ms:.3f}"]]
    rows += [[name, f"{ms:.3f}"] for name, ms in _predictions(profiled).items()]
    console.table(["latency table", "ms"], rows, "lr")
    error = table.error
    if error is None:
        console.print("  Read from a file: its prediction error was not measured.")
        return
    r2 = "undefined" if error.r2 is None else f"{error.r2:.3f}"
    console.print(
        f"  On {len(error.designs)} held-out designs: R² {r2}, "
        f"worst relative error {error.worst:.1%}"
        f"{'; poor: a rough indication only' if error.poor else ''}"
    )


def _print_head(console: Console, profiled: Sequence[Profiled]) -> None:
    first = profiled[0]
    words = [shape_text(first.subject.input_shape)]
    timing = next((m.timing for network in profiled for m in network.measured if m.timing), None)
    if timing is not None:
        words += [_device_text(timing.device), f"batch {timing.batch_size}", timing.dtype]
        if timing.memory_format != "contiguous":
            words.append(timing.memory_format)
        words.append("forward and backward" if timing.train else "inference")
    parts = {network.subject.part for network in profiled} - {""}
    if parts:
        words.append(f"costs and times of {', '.join(sorted(parts))} alone")
    console.print(" · ".join(words) + "\n")


def _print_counts(console: Console, profiled: Sequence[Profiled]) -> None:
    base = profiled[0].cost
    rows = []
    for number, network in enumerate(profiled):
        now = network.cost
        rows.append(
            [
                _name(network, profiled),
                mega(now.params),
                change(base.params, now.params) if number else "",
                giga(now.macs),
                change(base.macs, now.macs) if number else "",
                giga(now.conv_linear_macs),
                mega(network.activations[""]),
            ]
        )
    header = ["", "params", "", "GFLOPs", "", "conv + linear", "activations"]
    console.table(header, rows, "lrrrrrr")
    console.print(f"  {CONVENTION.format(base.counter)}")
    for network in profiled:
        if network.cost.uncounted:
            names = ", ".join(f"{name} {times}×" for name, times in network.cost.uncounted.items())
            console.print(f"  not counted in {printable(network.subject.name)}: {names}")


def _name(network: Profiled, profiled: Sequence[Profiled]) -> str:
    """The name of the network, with its input shape if shapes differ."""
    shapes = {other.subject.input_shape for other in profiled}
    return network.subject.name + (
        f" at {shape_text(network.subject.input_shape)}" * (len(shapes) > 1)
    )


def _print_times(
    console: Console, profiled: Sequence[Profiled], number: int, in_mode: Measured
) -> None:
    rows, troubles = [], []
    for network in profiled:
        measured = network.measured[number]
        if measured.timing is None:
            troubles.append(f"{network.subject.name}: not timed: {measured.trouble}")
            continue
        timing = measured.timing
        rows.append(
            [
                network.subject.name,
                f"{timing.median:.3f}",
                f"{timing.iqr:.3f}",
                str(len(timing.samples)),
                "noisy" if timing.noisy else "",
                _ratio_text(measured),
            ]
        )
    if rows:
        header = [in_mode.mode, "median ms", "IQR ms", "n", "", "ratio to the first, 95%"]
        console.table(header, rows, "lrrrll")
    for trouble in troubles:
        console.print(f"  {printable(with_options(trouble))}")
    for network in profiled:
        _print_site_times(console, network, network.measured[number])


def _print_site_times(console: Console, network: Profiled, measured: Measured) -> None:
    if not measured.sites or measured.timing is None:
        return
    rows = [
        [
            site.name,
            map_text(site),
            str(insertion.reduction),
            str(insertion.dilation),
            f"{timing.median:.3f}",
            f"{timing.median / measured.timing.median:.1%}",
        ]
        for site, insertion, timing in measured.sites
    ]
    console.print(f"\n  latency of each BAM in {printable(network.subject.name)}, timed alone")
    console.table(["site", "feature map", "r", "d", "ms", "of the network"], rows, "lrrrrr")


def _print_memory(console: Console, profiled: Sequence[Profiled]) -> None:
    rows = [
        [network.subject.name, *(_memory_text(memory) for memory in network.memory)]
        for network in profiled
        if network.memory
    ]
    if not rows:
        return
    console.print()
    console.table(["peak memory", "inference", "training step"], rows, "lrr")
    for memory in profiled[0].memory:
        kind = "training step" if memory.train else "inference"
        console.print(f"  {kind}: {memory.reason or memory.method}")


def _memory_text(memory: Memory) -> str:
    return "–" if memory.bytes is None else f"{memory.bytes / 2**20:,.1f} MiB"


def _ratio_text(measured: Measured) -> str:
    pair = measured.pair
    if pair is None:
        return ""
    text = f"{pair.ratio:.4f} [{pair.low:.4f}, {pair.high:.4f}]"
    return text if pair.distinguished else f"{text} not distinguishable from 1"


def _print_modules(console: Console, network: Profiled, depth: int) -> None:
    rows = [
        [
            "  " * path.count(".") + path if path else network.subject.name,
            f"{params:,}",
            giga(network.cost.by_module.get(path, 0)),
            f"{network.activations.get(path, 0):,}",
        ]
        for path, params in _module_params(network)
        if not path or path.count(".") < depth
    ]
    console.table(["module", "params", "GFLOPs", "activations"], rows, "lrrr")


def _module_params(network: Profiled) -> Iterator[tuple[str, int]]:
    for path, module in network.subject.module.named_modules():
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
        "trouble": measured.trouble and with_options(measured.trouble),
        "timing": None if measured.timing is None else asdict(measured.timing),
        "median_ms": None if measured.timing is None else measured.timing.median,
        "noisy": None if measured.timing is None else measured.timing.noisy,
        "ratio": None if pair is None else [pair.low, pair.ratio, pair.high],
        "sites": [
            {
                "site": site.name,
                "reduction": insertion.reduction,
                "dilation": insertion.dilation,
                "median_ms": timing.median,
            }
            for site, insertion, timing in measured.sites
        ],
    }
