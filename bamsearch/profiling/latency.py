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
from itertools import count
from typing import Unpack

import torch
from torch import nn

from bamsearch.errors import InvalidValueError
from bamsearch.graph.base import Base
from bamsearch.graph.models import model_names, named_module
from bamsearch.graph.placement import place
from bamsearch.profiling import cache
from bamsearch.profiling.clock import Clock
from bamsearch.profiling.conditions import Conditions, complete
from bamsearch.profiling.devices import device_facts, resolve_device
from bamsearch.profiling.single_bams import bams_alone, same_network
from bamsearch.profiling.summary import check_has_sites, summarise_base
from bamsearch.profiling.timing import time_model, time_pair
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
    ModelSummary,
    PairedTiming,
    Site,
    Variant,
    check_positive,
)
from bamsearch.records.arguments import checked

ReportProgress = Callable[[int, int], None]

_FOLDER = "latencies"


@dataclass(frozen=True, slots=True)
class _Bench:
    """Timing settings, shared by single BAMs, the base and whole designs."""

    conditions: Conditions
    samples: int
    seed: int
    clock: Clock | None

    def time(self, module: nn.Module, shape: tuple[int, ...]) -> float:
        """Median milliseconds of one call."""
        self._reset_compiler()
        timing = time_model(
            module, shape, samples=self.samples, clock=self.clock, **self.conditions
        )
        return timing.median

    def pair(self, a: nn.Module, b: nn.Module, shape: tuple[int, ...]) -> PairedTiming:
        self._reset_compiler()
        return time_pair(
            a,
            b,
            shape,
            samples=self.samples,
            seed=self.seed,
            clock=self.clock,
            **self.conditions,
        )

    def _reset_compiler(self) -> None:
        # All BAMs share their code, and each compiled variant of it slows down the next call,
        # because torch searches the variants for a match.
        if self.conditions["mode"] == "compile":
            torch.compiler.reset()


@dataclass(frozen=True, slots=True)
class _Plan:
    """The measurements to take."""

    summary: ModelSummary
    sites: tuple[Site, ...]
    options: tuple[tuple[int, int], ...]
    designs: tuple[tuple[Insertion, ...], ...]
    under: LatencyConditions


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
    progress: ReportProgress = lambda done, total: None,
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
    bench = _Bench(completed, samples, seed, clock)
    chosen = tuple(dict.fromkeys(summary.sites if sites is None else place(summary.sites, sites)))
    options = _options(reductions, dilations)
    designs = _random_designs(chosen, options, held_out, seed)
    plan = _Plan(summary, chosen, options, designs, _recorded(completed, variant, init))
    key = _key(module, plan, bench)
    table = None if again else cache.read(key, LatencyTable.from_json, _FOLDER)
    if table is None:
        # Creating BAMs with random weights must not change the caller's random state.
        with torch.random.fork_rng(devices=[]):
            table = _measure(base, plan, bench, progress)
        cache.write(key, table.to_json(), _FOLDER)
    return table


def additive_fit(designs: Sequence[HeldOut]) -> LatencyFit | None:
    """Fit of the predictions to the measurements; None without designs."""
    if not designs:
        return None
    measured = [held.measured_ms for held in designs]
    mean = sum(measured) / len(measured)
    about_mean = sum((ms - mean) ** 2 for ms in measured)
    errors = [held.predicted_ms - held.measured_ms for held in designs]
    r2 = 1 - sum(error**2 for error in errors) / about_mean if about_mean > 0 else None
    worst = max(abs(error) / ms for error, ms in zip(errors, measured, strict=True))
    return LatencyFit(r2, worst, tuple(designs))


def _recorded(conditions: Conditions, variant: Variant, init: Init) -> LatencyConditions:
    return LatencyConditions(
        variant,
        init,
        conditions["batch_size"],
        conditions["dtype"],
        conditions["memory_format"],
        conditions["mode"],
        conditions["train"],
        device_facts(resolve_device(conditions["device"]), conditions["threads"]),
    )


def _options(
    reductions: Sequence[int] | int, dilations: Sequence[int] | int
) -> tuple[tuple[int, int], ...]:
    """All distinct pairs (r, d)."""
    rs, ds = ([x] if isinstance(x, int) else x for x in (reductions, dilations))
    rs = [check_positive("reduction", reduction) for reduction in rs]
    ds = [check_positive("dilation", dilation) for dilation in ds]
    return tuple(dict.fromkeys((r, d) for r in rs for d in ds))


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


def _measure(base: Base, plan: _Plan, bench: _Bench, progress: ReportProgress) -> LatencyTable:
    summary, under = plan.summary, plan.under
    network = base.network
    if network.path != summary.part or base.sites != summary.sites:
        raise InvalidValueError(
            f"the summary of {summary.model} does not match this {type(base.module).__name__}: "
            "summarise the module to be timed"
        )
    alone = bams_alone(
        plan.sites,
        plan.options,
        variant=under.variant,
        init=under.init,
        memory_format=under.memory_format,
    )
    total = 1 + len(alone) + len(plan.designs)
    done = count()

    def step() -> None:
        progress(next(done), total)

    step()
    base_ms = bench.time(network.module, network.input_shape)
    step()
    times = {}
    for key, (bam, shape) in alone.items():
        times[key] = bench.time(bam, shape)
        step()
    entries = tuple(
        LatencyEntry(site.name, r, d, times[same_network(site, r, d)])
        for site in plan.sites
        for r, d in plan.options
    )
    table = LatencyTable(summary.model, summary.input_shape, summary.part, base_ms, entries, under)
    held = []
    for insertions in plan.designs:
        design = Design(
            *(table.model, table.input_shape, insertions, under.variant, under.init),
            how=summary.how,
        )
        inserted = base.insert(design).module.get_submodule(network.path)
        pair = bench.pair(network.module, inserted, network.input_shape)
        held.append(_held_out(table, insertions, pair))
        step()
    return replace(table, error=additive_fit(held))


def _held_out(
    table: LatencyTable, insertions: tuple[Insertion, ...], pair: PairedTiming
) -> HeldOut:
    low, measured, high = (table.base_ms * ratio for ratio in (pair.low, pair.ratio, pair.high))
    return HeldOut(insertions, table.predict(insertions), measured, low, high)


def _key(module: nn.Module, plan: _Plan, bench: _Bench) -> dict[str, object] | None:
    """Everything that could change a table; None unless package versions determine the model."""
    name = plan.summary.model
    model = cache.model_key(name)
    if model is None or (":" not in name and name not in model_names()):
        return None
    return model | {
        "summary": plan.summary.to_json(),
        # The user may have modified the module after building it by name.
        "module": hashlib.sha256(repr(module).encode()).hexdigest(),
        "sites": [site.name for site in plan.sites],
        "options": plan.options,
        "designs": [[asdict(insertion) for insertion in design] for design in plan.designs],
        "conditions": asdict(plan.under),
        "samples": bench.samples,
        "seed": bench.seed,
        "clock": None if bench.clock is None else type(bench.clock).__qualname__,
    }
