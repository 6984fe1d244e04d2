"""A latency model for search: each BAM timed once, alone, and added to the base's time.

The time of a design is taken to be base + the sum over its BAMs. That leaves out what neighbours do
to each other: caches that are warm for a BAM alone, launches that overlap on a GPU, fusion by a
compiler, and in training the sum that stands for the rest of the network. So the table is checked
on designs measured as whole models, paired with the base, and carries the error; where
``error.poor`` holds it says which designs to look at, not which to rule out. A noisy machine makes
a good table look poor: then the intervals of the measured designs are wide, and the predictions
are inside (``error.within``).
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
from bamsearch.graph.insertion import insert
from bamsearch.graph.models import model_names
from bamsearch.graph.network import Network, find_network
from bamsearch.graph.placement import place
from bamsearch.graph.sites import sites_of
from bamsearch.profile import cache
from bamsearch.profile.bam_alone import bams_alone, same_network
from bamsearch.profile.clock import Clock
from bamsearch.profile.conditions import Conditions, complete
from bamsearch.profile.devices import device_facts, resolve_device
from bamsearch.profile.summary import check_has_sites
from bamsearch.profile.timing import time_model, time_pair
from bamsearch.records import (
    Design,
    HeldOut,
    Init,
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

Progress = Callable[[int, int], None]

_FOLDER = "latencies"


@dataclass(frozen=True, slots=True)
class _Bench:
    """How everything is timed: the same for a BAM, the base and whole designs."""

    conditions: Conditions
    samples: int
    seed: int
    clock: Clock | None

    def time(self, module: nn.Module, shape: tuple[int, ...]) -> float:
        """Median milliseconds of one call."""
        self._forget()
        timing = time_model(
            module, shape, samples=self.samples, clock=self.clock, **self.conditions
        )
        return timing.median

    def pair(self, a: nn.Module, b: nn.Module, shape: tuple[int, ...]) -> PairedTiming:
        self._forget()
        return time_pair(
            a,
            b,
            shape,
            samples=self.samples,
            seed=self.seed,
            clock=self.clock,
            **self.conditions,
        )

    def _forget(self) -> None:
        # All BAMs share their code, and every variant that is compiled of it makes the next call
        # slower: torch looks through them for the one that fits.
        if self.conditions["mode"] == "compile":
            torch.compiler.reset()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be timed."""

    summary: ModelSummary
    sites: tuple[Site, ...]
    options: tuple[tuple[int, int], ...]
    designs: tuple[tuple[Insertion, ...], ...]
    under: LatencyConditions


def measure_latency(  # noqa: PLR0913
    module: nn.Module,
    summary: ModelSummary,
    *,
    reductions: Sequence[int],
    dilations: Sequence[int],
    sites: str | Sequence[str] | None = None,
    held_out: int = 5,
    variant: Variant = "paper",
    init: Init = "paper",
    samples: int = 30,
    seed: int = 0,
    again: bool = False,
    clock: Clock | None = None,
    progress: Progress = lambda done, total: None,
    **conditions: Unpack[Conditions],
) -> LatencyTable:
    """Time the base, each BAM alone, and a few whole designs; or take it all from the cache.

    BAMs that are one network (same map, same h, same effective dilation) are timed once. A table
    of a named model is kept with all that could change it: model, sites, options, device, driver,
    versions, threads, source. The cache does not know how busy the machine was.

    Args:
        module: the whole model; a copy is timed.
        summary: of that model.
        reductions: values of r.
        dilations: values of d.
        sites: a placement or names of sites; None is every site.
        held_out: how many random designs are measured as whole models; 0 gives no error.
        variant: which BAM.
        init: how it starts.
        samples: of each time; of both models, for the whole designs.
        seed: random seed of the held-out designs, the order within pairs and the bootstrap.
        again: measure also if there is such a table, as after one from a busy machine.
        clock: what measures; None is the device's own.
        progress: called with (done, total) before the first and after each measurement.
        conditions: ``device``, ``batch_size``, ``dtype``, ``memory_format``, ``mode``, ``train``
            and ``threads``, see :class:`bamsearch.profile.conditions.Conditions`.

    Returns:
        The table, with its error on the held-out designs.

    Raises:
        InvalidValueError: the summary is of another model, no such site, r, d or condition.
        NoSiteError: the placement has no site in this model.
        DeviceError: as :func:`bamsearch.profile.timing.time_model`.
    """
    check_has_sites(summary)
    given = complete(conditions)
    bench = _Bench(given, samples, seed, clock)
    chosen = tuple(dict.fromkeys(summary.sites if sites is None else place(summary.sites, sites)))
    options = _options(reductions, dilations)
    designs = _random_designs(chosen, options, held_out, seed)
    plan = _Plan(summary, chosen, options, designs, _recorded(given, variant, init))
    key = _key(module, plan, bench)
    found = None if again else cache.read(key, LatencyTable.from_json, _FOLDER)
    if found is None:
        # The caller's random numbers stay as they are: BAMs are made with random weights.
        with torch.random.fork_rng(devices=[]):
            found = _measure(module, plan, bench, progress)
        cache.write(key, found.to_json(), _FOLDER)
    return found


def additive_fit(designs: Sequence[HeldOut]) -> LatencyFit | None:
    """How well predictions fit what was measured; None for no designs."""
    if not designs:
        return None
    measured = [held.measured_ms for held in designs]
    mean = sum(measured) / len(measured)
    about_mean = sum((ms - mean) ** 2 for ms in measured)
    errors = [held.predicted_ms - held.measured_ms for held in designs]
    r2 = 1 - sum(error**2 for error in errors) / about_mean if about_mean > 0 else None
    worst = max(abs(error) / ms for error, ms in zip(errors, measured, strict=True))
    return LatencyFit(r2, worst, tuple(designs))


def _recorded(given: Conditions, variant: Variant, init: Init) -> LatencyConditions:
    return LatencyConditions(
        variant,
        init,
        given["batch_size"],
        given["dtype"],
        given["memory_format"],
        given["mode"],
        given["train"],
        device_facts(resolve_device(given["device"]), given["threads"]),
    )


def _options(reductions: Sequence[int], dilations: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Every (r, d), once."""
    rs = [check_positive("reduction", reduction) for reduction in reductions]
    ds = [check_positive("dilation", dilation) for dilation in dilations]
    return tuple(dict.fromkeys((r, d) for r in rs for d in ds))


def _random_designs(
    sites: Sequence[Site], options: Sequence[tuple[int, int]], wanted: int, seed: int
) -> tuple[tuple[Insertion, ...], ...]:
    """Different designs with BAM at half of the sites on average; all there are, if fewer."""
    if not sites or not options:
        raise InvalidValueError("a latency table needs a site, a reduction and a dilation")
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


def _measure(module: nn.Module, plan: _Plan, bench: _Bench, progress: Progress) -> LatencyTable:
    summary, under = plan.summary, plan.under
    network = _network(module, summary)
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
        inserted = insert(module, network, summary.sites, design).get_submodule(network.path)
        pair = bench.pair(network.module, inserted, network.input_shape)
        held.append(_held_out(table, insertions, pair))
        step()
    return replace(table, error=additive_fit(held))


def _network(module: nn.Module, summary: ModelSummary) -> Network:
    """The part that is timed, if the summary is of this module."""
    network = find_network(module, summary.input_shape)
    if network.path != summary.part or tuple(sites_of(network)) != summary.sites:
        raise InvalidValueError(
            f"the summary of {summary.model} is not of this {type(module).__name__}: "
            "summarise the module that is timed"
        )
    return network


def _held_out(
    table: LatencyTable, insertions: tuple[Insertion, ...], pair: PairedTiming
) -> HeldOut:
    low, measured, high = (table.base_ms * ratio for ratio in (pair.low, pair.ratio, pair.high))
    return HeldOut(insertions, table.predict(insertions), measured, low, high)


def _key(module: nn.Module, plan: _Plan, bench: _Bench) -> dict[str, object] | None:
    """All that could change a table; None for models that package versions do not decide."""
    name = plan.summary.model
    model = cache.model_key(name)
    if model is None or (":" not in name and name not in model_names()):
        return None
    return model | {
        "summary": plan.summary.to_json(),
        # A user may have changed the module since it got its name.
        "module": hashlib.sha256(repr(module).encode()).hexdigest(),
        "sites": [site.name for site in plan.sites],
        "options": plan.options,
        "designs": [[asdict(one) for one in design] for design in plan.designs],
        "conditions": asdict(plan.under),
        "samples": bench.samples,
        "seed": bench.seed,
        "clock": None if bench.clock is None else type(bench.clock).__qualname__,
    }
