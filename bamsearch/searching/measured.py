"""What options take that is no closed form: bytes of a training step, and milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from bamsearch.data.ticker import Ticker
from bamsearch.records import DType, Mode, Quantity
from bamsearch.searching.choices import BASE, Choice, Option, SearchSpace

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Under which conditions a budget of time holds.

    Attributes:
        device: where networks are timed, and scored.
        batch_size: inputs in one call.
        dtype: of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        threads: torch's threads on a CPU.
        samples: of each time.
    """

    device: str = "cpu"
    batch_size: int = 1
    dtype: DType = "float32"
    mode: Mode = "eager"
    threads: int = 1
    samples: int = 30


def measure(
    space: SearchSpace,
    wanted: Collection[Quantity],
    timing: Timing,
    seed: int,
    module: nn.Module | None = None,
) -> tuple[dict[tuple[str, str], tuple[int, int]], dict[str, Any] | None]:
    """What the base and every option take in bytes and nanoseconds, where a budget needs them.

    Args:
        space: of the model.
        wanted: what budgets limit; only memory and ms are measured.
        timing: conditions of the times.
        seed: of the latency table.
        module: the base; None builds the space's model.

    Returns:
        What :func:`~bamsearch.searching.choices.with_costs` takes, and what the times are worth.
        Times are predictions of a latency table with its worst error on whole designs on top.

    Raises:
        ModelError: as :func:`bamsearch.profile.saved.bam_memory`.
        DeviceError: as :func:`bamsearch.profile.latency.measure_latency`.
    """
    memory = _memory(space, module) if "memory" in wanted else {}
    ns, latency = _latency(space, timing, seed, module) if "ms" in wanted else ({}, None)
    keys = memory.keys() | ns.keys()
    return {key: (memory.get(key, 0), ns.get(key, 0)) for key in sorted(keys)}, latency


def _memory(space: SearchSpace, module: nn.Module | None) -> dict[tuple[str, str], int]:
    from bamsearch.profile.saved import bam_memory

    # Shapes alone count: no weights, and none of the caller's random numbers.
    module = module or _built(space, initialise=False)
    reductions = {
        site.name: sorted({option.reduction for option in choice.options if not option.off})
        for choice in space.choices
        for site in choice.sites
    }
    base, bams = bam_memory(
        module, space.summary, reductions, variant=space.variant, init=space.init
    )
    found = {BASE: base}
    for choice, option in _options(space):
        found[choice.name, option.label] = sum(
            bams[site.name, option.reduction] for site in choice.sites
        )
    return found


def _latency(
    space: SearchSpace, timing: Timing, seed: int, module: nn.Module | None
) -> tuple[dict[tuple[str, str], int], dict[str, Any]]:
    """Predicted nanoseconds with the table's worst error on top, and what it is worth."""
    from bamsearch.profile.latency import measure_latency

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
        module or _built(space, initialise=True),
        space.summary,
        reductions=sorted({option.reduction for option in options}),
        dilations=sorted({option.dilation for option in options}),
        sites=[site.name for choice in space.choices for site in choice.sites],
        variant=space.variant,
        init=space.init,
        samples=timing.samples,
        seed=seed,
        device=timing.device,
        batch_size=timing.batch_size,
        dtype=timing.dtype,
        mode=timing.mode,
        threads=timing.threads,
        progress=progress,
    )
    worst = table.error.worst if table.error is not None else 0.0
    ms = {(e.site, e.reduction, e.dilation): e.ms for e in table.entries}

    def safe(milliseconds: float) -> int:
        return ceil(milliseconds * (1 + worst) * 1e6)

    found = {BASE: safe(table.base_ms)}
    for choice, option in _options(space):
        added = (ms[site.name, option.reduction, option.dilation] for site in choice.sites)
        found[choice.name, option.label] = safe(sum(added))
    conditions = table.conditions
    return found, {
        "device": conditions.device.name if conditions else timing.device,
        "batch_size": timing.batch_size,
        "dtype": timing.dtype,
        "mode": timing.mode,
        "threads": timing.threads,
        "samples": timing.samples,
        "base_ms": table.base_ms,
        "worst_error": worst,
        "r2": table.error.r2 if table.error is not None else None,
    }


def _options(space: SearchSpace) -> list[tuple[Choice, Option]]:
    return [(c, option) for c in space.choices for option in c.options if not option.off]


def _built(space: SearchSpace, *, initialise: bool) -> nn.Module:
    from bamsearch.graph.models import build_model

    summary = space.summary
    return build_model(
        summary.model,
        summary.input_shape,
        num_classes=space.num_classes,
        initialise=initialise,
    )
