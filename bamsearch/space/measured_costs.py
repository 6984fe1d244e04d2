"""Costs without a closed form: activation memory in bytes, and latency."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from bamsearch.data.ticker import Ticker
from bamsearch.records import DType, Mode, Quantity
from bamsearch.space.choices import BASE, Choice, Option, SearchSpace

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """Conditions of a latency budget.

    Attributes:
        device: device that networks are timed and scored on.
        batch_size: inputs per call.
        dtype: data type of weights and inputs.
        mode: eager, compiled or a replayed CUDA graph.
        threads: torch threads on a CPU.
        samples: samples per measurement.
    """

    device: str = "cpu"
    batch_size: int = 1
    dtype: DType = "float32"
    mode: Mode = "eager"
    threads: int = 1
    samples: int = 30


def measure_costs(
    space: SearchSpace,
    wanted: Collection[Quantity],
    timing: LatencySettings,
    seed: int,
    module: nn.Module | None = None,
) -> tuple[dict[tuple[str, str], tuple[int, int]], dict[str, Any] | None]:
    """Memory and latency of the base and of every option, where a budget needs them.

    Args:
        space: search space.
        wanted: limited quantities; only memory and ms are measured.
        timing: conditions of the latency.
        seed: random seed of the latency table.
        module: base network; None builds the space's model.

    Returns:
        Costs for :func:`~bamsearch.space.choices.with_costs`, in bytes and nanoseconds, and
        the conditions and errors of the latency table. Latencies are predictions of the table plus
        its worst error.

    Raises:
        ModelError: as :func:`bamsearch.profiling.memory.bam_memory`.
        DeviceError: as :func:`bamsearch.profiling.latency.measure_latency`.
    """
    memory = _memory(space, module) if "memory" in wanted else {}
    ns, latency = _latency(space, timing, seed, module) if "ms" in wanted else ({}, None)
    keys = memory.keys() | ns.keys()
    return {key: (memory.get(key, 0), ns.get(key, 0)) for key in sorted(keys)}, latency


def _memory(space: SearchSpace, module: nn.Module | None) -> dict[tuple[str, str], int]:
    from bamsearch.profiling.memory import bam_memory

    # Only shapes matter: weights are not initialised, which also leaves the random state alone.
    module = module or _build(space, initialise=False)
    reductions = {
        site.name: sorted({option.reduction for option in choice.options if not option.off})
        for choice in space.choices
        for site in choice.sites
    }
    base, bams = bam_memory(
        module, space.summary, reductions, variant=space.variant, init=space.init
    )
    costs = {BASE: base}
    for choice, option in _options(space):
        added = (bams[site.name, option.reduction] for site in choice.sites)
        costs[choice.name, option.label] = sum(added)
    return costs


def _latency(
    space: SearchSpace, timing: LatencySettings, seed: int, module: nn.Module | None
) -> tuple[dict[tuple[str, str], int], dict[str, Any]]:
    """Predicted nanoseconds plus the table's worst error, and the table's conditions and errors."""
    from bamsearch.profiling.latency import measure_latency

    options = [option for _, option in _options(space)]
    ticker: Ticker | None = None

    def progress(done: int, total: int) -> None:
        nonlocal ticker
        if ticker is None:
            title = f"timing {space.summary.model} and its BAMs on {timing.device}"
            _log.info("%s, for the budget in milliseconds: %d measurements", title, total)
            ticker = Ticker(_log, title, "measurements", total)
        ticker(done)

    table = measure_latency(
        module or _build(space, initialise=True),
        summary=space.summary,
        reductions=sorted({option.reduction for option in options}),
        dilations=sorted({option.dilation for option in options}),
        sites=[site.name for choice in space.choices for site in choice.sites],
        variant=space.variant,
        init=space.init,
        seed=seed,
        progress=progress,
        **asdict(timing),
    )
    worst = table.error.worst if table.error is not None else 0.0
    ms = {(e.site, e.reduction, e.dilation): e.ms for e in table.entries}

    def safe(milliseconds: float) -> int:
        return ceil(milliseconds * (1 + worst) * 1e6)

    costs = {BASE: safe(table.base_ms)}
    for choice, option in _options(space):
        added = (ms[site.name, option.reduction, option.dilation] for site in choice.sites)
        costs[choice.name, option.label] = safe(sum(added))
    conditions = table.conditions
    return costs, asdict(timing) | {
        "device": conditions.device.name if conditions else timing.device,
        "base_ms": table.base_ms,
        "worst_error": worst,
        "r2": table.error.r2 if table.error is not None else None,
    }


def _options(space: SearchSpace) -> list[tuple[Choice, Option]]:
    return [(c, option) for c in space.choices for option in c.options if not option.off]


def _build(space: SearchSpace, *, initialise: bool) -> nn.Module:
    from bamsearch.graph.models import build_model

    model, shape = space.summary.model, space.summary.input_shape
    return build_model(model, shape, num_classes=space.num_classes, initialise=initialise)
