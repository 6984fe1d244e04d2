"""An additive latency model for search: each BAM is timed once, alone.

The predicted latency of a design is the base's plus the sum over its BAMs. This ignores
interactions: caches that are warm for a single BAM, kernel launches that overlap on a GPU, fusion
by a compiler, and in training the sum that replaces the rest of the network. So the table is
validated on whole designs, measured in pairs with the base, and records the error. If
``error.poor`` holds, use the table to select candidates, not to rule designs out. On a noisy
machine a good table looks poor: then the intervals of the measured designs are wide, and contain
the predictions (``error.within``).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, product
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.graph.base import Base
from bamsearch.graph.models import model_names, named_module
from bamsearch.graph.placement import place
from bamsearch.profiling import cache
from bamsearch.profiling.conditions import Conditions, complete, recorded
from bamsearch.profiling.devices import device_facts, resolve_device
from bamsearch.profiling.summary import check_has_sites, summarise_base
from bamsearch.profiling.timing import Clock, time_model, time_pair
from bamsearch.records import (
    Design,
    HeldOut,
    Init,
    InputShape,
    Insertion,
    LatencyConditions,
    LatencyEntry,
    LatencyFit,
    LatencyTable,
    MemoryFormat,
    ModelSummary,
    Site,
    Variant,
    check_positive,
)
from bamsearch.records.arguments import checked

_FOLDER = "latencies"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The measurements to take, and the settings of all timings."""

    summary: ModelSummary
    sites: tuple[Site, ...]
    options: tuple[tuple[int, int], ...]
    designs: tuple[tuple[Insertion, ...], ...]
    table_conditions: LatencyConditions
    conditions: Conditions
    samples: int
    seed: int
    clock: Clock | None

    def timings(self) -> dict[str, Any]:
        """Keyword arguments of the next timing."""
        # All BAMs share their code, and each compiled variant of it slows down the next call,
        # because torch searches the variants for a match.
        if self.conditions["mode"] == "compile":
            torch.compiler.reset()
        return {"samples": self.samples, "clock": self.clock, **self.conditions}


@checked
def measure_latency(  # noqa: PLR0913
    model: nn.Module | str,
    input_shape: InputShape | None = None,
    *,
    reductions: Sequence[int] | int = 16,
    dilations: Sequence[int] | int = 4,
    sites: str | Sequence[str] | None = None,
    held_out: int = 5,
    variant: Variant = "paper",
    init: Init = "paper",
    samples: int = 30,
    seed: int = 0,
    again: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    summary: ModelSummary | None = None,
    **conditions: Unpack[Conditions],
) -> LatencyTable:
    """Time the base, each BAM alone, and a few whole designs, or read the table from the cache.

    Equal BAMs (same map, same h, same effective dilation) are timed once. The table of a named
    model is cached by everything that could change it: model, sites, options, device, driver,
    versions, threads, source. The load of the machine is not part of the key.

    Args:
        model: the whole model, of which a copy is timed, or a MODEL such as ``"resnet18"``.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`.
        reductions: values of r, or one.
        dilations: values of d, or one.
        sites: a placement or names of sites; None is all sites.
        held_out: number of random designs to measure as whole models; 0 gives no error estimate.
        variant: ``paper`` or ``official``.
        init: ``paper`` or ``identity``.
        samples: number of samples per timing; for whole designs, per model of the pair.
        seed: random seed of the held-out designs, the order within pairs and the bootstrap.
        again: measure even if the table is cached, for instance from a busy machine.
        clock: clock for the timings; None is the device's default.
        progress: called with (done, total) before the first and after each measurement.
        summary: summary of the model and its input, if known: it names a module for the cache.
        conditions: ``device``, ``batch_size``, ``dtype``, ``memory_format``, ``mode``, ``train``
            and ``threads``, see :class:`bamsearch.profiling.conditions.Conditions`.

    Returns:
        The table, with its error on the held-out designs.

    Raises:
        InvalidValueError: the summary is of another model or input, or an invalid site, r,
            d or condition.
        NoSiteError: the placement has no site in this model.
        DeviceError: as :func:`bamsearch.profiling.timing.time_model`.
    """
    shape = summary.input_shape if summary is not None and input_shape is None else input_shape
    name, module, shape = named_module(model, shape)
    base = Base(module, shape)
    summary = summary or summarise_base(name, base)
    if summary.input_shape != shape:
        raise InvalidValueError(
            f"the summary is for an input of {summary.input_shape}, not {shape}"
        )
    check_has_sites(summary)
    completed = complete(conditions)
    device = resolve_device(completed["device"])
    completed["device"] = str(device)
    facts = device_facts(device, completed["threads"])
    chosen = tuple(dict.fromkeys(summary.sites if sites is None else place(summary.sites, sites)))
    options = _options(reductions, dilations)
    plan = _Plan(
        summary,
        chosen,
        options,
        _random_designs(chosen, options, held_out, seed),
        LatencyConditions(variant, init, **recorded(completed, facts)),
        completed,
        samples,
        seed,
        clock,
    )
    key = _key(module, plan)
    table = None if again else cache.read(key, LatencyTable.from_json, _FOLDER)
    if table is None:
        # Creating BAMs with random weights must not change the caller's random state.
        with torch.random.fork_rng(devices=[]):
            table = _measure(base, plan, progress)
        cache.write(key, table.to_json(), _FOLDER)
    return table


def additive_fit(designs: Sequence[HeldOut]) -> LatencyFit | None:
    """Fit of the predictions to the measurements; None without designs."""
    if not designs:
        return None
    measured = np.array([held.measured_ms for held in designs])
    errors = np.array([held.predicted_ms for held in designs]) - measured
    about_mean = float(np.square(measured - measured.mean()).sum())
    r2 = 1 - float(np.square(errors).sum()) / about_mean if about_mean > 0 else None
    return LatencyFit(r2, float(np.abs(errors / measured).max()), tuple(designs))


def _options(
    reductions: Sequence[int] | int, dilations: Sequence[int] | int
) -> tuple[tuple[int, int], ...]:
    """All distinct pairs (r, d)."""
    rs, ds = ([x] if isinstance(x, int) else x for x in (reductions, dilations))
    rs = [check_positive("reduction", reduction) for reduction in rs]
    ds = [check_positive("dilation", dilation) for dilation in ds]
    return tuple(dict.fromkeys(product(rs, ds)))


def _random_designs(
    sites: Sequence[Site], options: Sequence[tuple[int, int]], wanted: int, seed: int
) -> tuple[tuple[Insertion, ...], ...]:
    """Distinct designs with BAM at half of the sites on average; all designs, if fewer exist."""
    if not sites or not options:
        raise InvalidValueError(
            "a latency table needs at least one site, one reduction and one dilation"
        )
    if wanted < 0:
        raise InvalidValueError(f"held_out must be 0 or more, not {wanted!r}")
    generator = random.Random(seed)
    wanted = min(wanted, (len(options) + 1) ** len(sites) - 1)
    designs: dict[tuple[Insertion, ...], None] = {}
    while len(designs) < wanted:
        design = tuple(
            Insertion(site.name, *generator.choice(options))
            for site in sites
            if generator.random() < 0.5
        )
        if design:
            designs[design] = None
    return tuple(designs)


def _measure(base: Base, plan: _Plan, progress: Callable[[int, int], None]) -> LatencyTable:
    summary, conditions = plan.summary, plan.table_conditions
    network, shape = base.network, base.network.input_shape
    if network.path != summary.part or base.sites != summary.sites:
        raise InvalidValueError(
            f"the summary of {summary.model} does not match this {type(base.module).__name__}: "
            "summarise the module to be timed"
        )
    variant, init, memory_format = conditions.variant, conditions.init, conditions.memory_format
    bams: dict[tuple[object, ...], tuple[nn.Module, tuple[int, ...]]] = {}
    for site, (r, d) in product(plan.sites, plan.options):
        if (key := same_network(site, r, d)) not in bams:
            bams[key] = bam_alone(
                site, r, d, variant=variant, init=init, memory_format=memory_format
            )
    total = 1 + len(bams) + len(plan.designs)
    done = count()

    def step() -> None:
        progress(next(done), total)

    step()
    base_ms = time_model(network.module, shape, **plan.timings()).median
    step()
    times = {}
    for key, (module, map_shape) in bams.items():
        times[key] = time_model(module, map_shape, **plan.timings()).median
        step()
    entries = tuple(
        LatencyEntry(site.name, r, d, times[same_network(site, r, d)])
        for site, (r, d) in product(plan.sites, plan.options)
    )
    model, input_shape = summary.model, summary.input_shape
    table = LatencyTable(model, input_shape, summary.part, base_ms, entries, conditions)
    held = []
    for insertions in plan.designs:
        design = Design(model, input_shape, insertions, variant, init, how=summary.how)
        inserted = base.insert(design).module.get_submodule(network.path)
        pair = time_pair(network.module, inserted, shape, seed=plan.seed, **plan.timings())
        low, ms, high = (base_ms * ratio for ratio in (pair.low, pair.ratio, pair.high))
        held.append(HeldOut(insertions, table.predict(insertions), ms, low, high))
        step()
    return replace(table, error=additive_fit(held))


def _key(module: nn.Module, plan: _Plan) -> dict[str, object] | None:
    """Everything that could change a table; None unless package versions determine the model."""
    name = plan.summary.model
    model = cache.model_key(name)
    if model is None or (":" not in name and name not in model_names()):
        return None
    return {
        **model,
        **asdict(replace(plan, clock=None)),
        "clock": None if plan.clock is None else type(plan.clock).__qualname__,
        # The user may have modified the module after building it by name.
        "module": hashlib.sha256(repr(module).encode()).hexdigest(),
    }


def same_network(site: Site, reduction: int, dilation: int) -> tuple[object, ...]:
    """Key of everything that a single BAM's latency depends on; equal for sites with equal maps."""
    shape = (site.channels, site.frames, site.height, site.width, site.layout)
    hidden = hidden_channels(site.channels, reduction)
    return (*shape, hidden, effective_dilation(site, dilation))


def bam_alone(
    site: Site,
    reduction: int,
    dilation: int,
    *,
    variant: Variant,
    init: Init,
    memory_format: MemoryFormat,
) -> tuple[nn.Module, tuple[int, ...]]:
    """A BAM alone, and its input shape without the batch, with the input as at its site.

    The memory format is that of the network's input.
    """
    bam = BAM(
        site.channels,
        reduction,
        effective_dilation(site, dilation),
        variant=variant,
        init=init,
        layout=site.layout,
    )
    turned = site.layout[-1] == "C" and memory_format == "channels_last"
    axes = f"C{site.layout[1:-1]}" if turned else site.layout[1:]
    sizes = {"C": site.channels, "T": site.frames, "H": site.height, "W": site.width}
    return _WithInput(bam, turned), tuple(sizes[axis] or 1 for axis in axes)


class _WithInput(nn.Module):
    """BAM with its input prepared as in a network.

    Args:
        bam: the BAM.
        turned: the input is (N, C, H, W) in channels_last, and is permuted to (N, H, W, C), which
            is contiguous: converting an NHWC tensor to channels_last would shuffle its memory. The
            same for clips.
    """

    def __init__(self, bam: BAM, turned: bool) -> None:
        super().__init__()
        self.bam = bam
        self.turned = turned

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if self.turned else x
        # In a network the map needs a gradient too: half of the backward pass.
        refined: Tensor = self.bam(x.detach().requires_grad_() if self.training else x)
        return refined
