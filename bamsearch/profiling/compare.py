"""Networks side by side: open them, and count and time each against the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.graph.bams import fork_rng
from bamsearch.graph.base import Base
from bamsearch.graph.designs import build, find_design, is_design, load
from bamsearch.graph.models import build_model, default_input_shape, model_names, named_module
from bamsearch.graph.network import find_network
from bamsearch.graph.placement import place
from bamsearch.profiling.counting import count, count_activations
from bamsearch.profiling.latency import bam_alone, measure_latency
from bamsearch.profiling.latency_csv import read_latency_csv, write_latency_csv
from bamsearch.profiling.memory import peak_memory
from bamsearch.profiling.summary import summarise, summarise_base
from bamsearch.profiling.timing import time_model, time_pair
from bamsearch.records import (
    Cost,
    Design,
    Insertion,
    LatencyTable,
    Memory,
    Mode,
    PairedTiming,
    Site,
    Timing,
)

REDUCTIONS = (4, 8, 16, 32)
DILATIONS = (1, 2, 4, 6)
"""r and d of latency tables: those of the shipped search spaces."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to profile.

    Attributes:
        name: the MODEL, or the path of the DESIGN, as requested.
        model: the whole network, in train mode, on the CPU.
        image_shape: input shape of the whole network, without the batch.
        module: the part that is counted and timed.
        part: path of that part; "" for the whole, ``backbone.body`` for a detector.
        input_shape: input shape of the part, without the batch.
        design: the design; None for a MODEL.
    """

    name: str
    model: nn.Module
    image_shape: tuple[int, ...]
    module: nn.Module
    part: str
    input_shape: tuple[int, ...]
    design: Design | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Latencies of a network in one mode.

    Attributes:
        mode: eager, compile or cudagraph.
        timing: latency of the network; None if it does not run in this mode.
        pair: comparison with the first network; None for the first.
        sites: latency of each single BAM of a design, with its input as in the network.
        trouble: reason for a missing timing.
    """

    mode: Mode
    timing: Timing | None
    pair: PairedTiming | None = None
    sites: tuple[tuple[Site, Insertion, Timing], ...] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Profiled:
    """The profile of a network.

    Attributes:
        subject: the network.
        cost: cost counted on this network, not derived from the base's.
        activations: output elements of convolutions and matrix products by module; "" is the
            total.
        batch_size: number of inputs per call in all measurements.
        measured: latencies, one entry per mode.
        memory: peak memory of inference and of a training step, if requested.
        latency_table: latency table of the MODEL without BAM, if requested.
    """

    subject: Subject
    cost: Cost
    activations: dict[str, int]
    batch_size: int
    measured: tuple[Measured, ...] = ()
    memory: tuple[Memory, ...] = ()
    latency_table: LatencyTable | None = None

    @property
    def predicted_ms(self) -> float | None:
        """Latency of a design by the latency table."""
        if self.latency_table is None or self.subject.design is None:
            return None
        return self.latency_table.predict(self.subject.design.insertions)


Network = str | os.PathLike[str] | Design | nn.Module | Subject


def open_subjects(
    networks: Sequence[Network],
    size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> list[Subject]:
    """Build each network: a design on disk if it exists, else a MODEL; others are taken as given.

    If a design derived from a MODEL is also among the networks, the MODEL is built with the input
    and classes of the design, so that the two are comparable.

    Args:
        networks: see :func:`bamsearch.profile`.
        size: (H, W) of the input of a MODEL or module; None is that of its design, else the
            model's default, and 224x224 for a module. Ignored for designs.
        num_classes: classes of a MODEL's head; None as for size.
        seed: random seed of the weights.

    Raises:
        ModelError, DesignError, WeightsError: a network cannot be built.
    """
    named = [
        os.fspath(network) if isinstance(network, os.PathLike) else network
        for network in dict.fromkeys(networks)
    ]
    designs = [_design_of(network) for network in named]
    of_model = {design.model: design for design in designs if design is not None}
    with fork_rng(seed):
        return [
            network
            if isinstance(network, Subject)
            else _subject(network, design, of_model.get(str(network)), size, num_classes)
            for network, design in zip(named, designs, strict=True)
        ]


def _subject(
    network: str | Design | nn.Module,
    design: Design | None,
    like: Design | None,
    size: tuple[int, int] | None,
    num_classes: int | None,
) -> Subject:
    """Build a network; like is a design of this MODEL."""
    if isinstance(network, nn.Module):
        name, module, shape = named_module(network, (3, *(size or (224, 224))))
    elif design is not None:
        name = network if isinstance(network, str) else design.model
        module = load(network) if isinstance(network, str) else build(design)
        shape = design.input_shape
    else:
        name = str(network)
        default = default_input_shape(name) if like is None else like.input_shape
        shape = (*default[:-2], *size) if size else default
        module = build_model(
            name,
            shape,
            num_classes=num_classes or (like.num_classes if like else None),
            weights=like.weights if like and num_classes is None else None,
        )
    part = find_network(module, shape)
    return Subject(name, module, shape, part.module, part.path, part.input_shape, design)


def _design_of(network: str | Design | nn.Module | Subject) -> Design | None:
    if isinstance(network, Design):
        return network
    # If a run has the name of a model, the name means the model; the run's path still works.
    if not isinstance(network, str) or network in model_names() or not is_design(network):
        return None
    return find_design(network)[0]


def profile_subjects(
    subjects: Sequence[Subject],
    modes: Sequence[Mode],
    timing: dict[str, Any],
    *,
    seed: int = 0,
    memory: bool = False,
    latency_table: LatencyTable | None = None,
    step: Callable[[], None] = lambda: None,
) -> list[Profiled]:
    """Count and time each network: a single network alone, several paired with the first.

    timing has the samples, the clock and all conditions of :func:`time_model`; the other arguments
    are as for :func:`bamsearch.profile`.

    Raises:
        ModelError: a network cannot be counted.
        DeviceError: the device's memory is too small for measuring memory.
    """
    profiled = []
    for number, subject in enumerate(subjects):
        cost = count(subject.module, subject.input_shape)
        activations = count_activations(subject.module, subject.input_shape)
        step()
        measured = []
        # With several networks, the first network's time comes from its pair with the second.
        for mode in modes if number or len(subjects) == 1 else ():
            first = subjects[0] if number else None
            measured.append(_measure(first, subject, seed, timing | {"mode": mode}))
            step()
        peaks = _memory(subject, timing) if memory else ()
        profiled.append(
            Profiled(
                *(subject, cost, activations, timing["batch_size"]),
                *(tuple(measured), peaks, latency_table),
            )
        )
    if len(subjects) > 1 and modes:
        profiled[0] = _with_first_times(profiled)
    return profiled


def _measure(
    first: Subject | None, subject: Subject, seed: int, timing: dict[str, Any]
) -> Measured:
    mode, shape = timing["mode"], subject.input_shape
    if first is not None and first.input_shape != shape:
        trouble = f"its input is {shape}, but that of the first network is {first.input_shape}"
        return Measured(mode, None, trouble=trouble)
    try:
        sites = _site_times(subject, timing)
        if first is None:
            return Measured(mode, time_model(subject.module, shape, **timing), sites=sites)
        pair = time_pair(first.module, subject.module, shape, seed=seed, **timing)
        return Measured(mode, pair.b, pair, sites)
    except DeviceError as error:
        return Measured(mode, None, trouble=str(error))


def _site_times(
    subject: Subject, timing: dict[str, Any]
) -> tuple[tuple[Site, Insertion, Timing], ...]:
    """Time each BAM of a design alone, on a map of the size at its site."""
    design = subject.design
    if design is None:
        return ()
    summary = summarise(design.model, design.input_shape[-2:], design.num_classes, design.weights)
    sites = place(summary.sites, [insertion.site for insertion in design.insertions])
    times = []
    for site, insertion in zip(sites, design.insertions, strict=True):
        module, shape = bam_alone(
            *(site, insertion.reduction, insertion.dilation),
            variant=design.variant,
            init=design.init,
            memory_format=timing["memory_format"],
        )
        times.append((site, insertion, time_model(module, shape, **timing)))
    return tuple(times)


def _memory(subject: Subject, timing: dict[str, Any]) -> tuple[Memory, ...]:
    """Peak memory of inference and of a training step."""
    conditions = {key: timing[key] for key in ("device", "batch_size", "dtype", "memory_format")}
    return tuple(
        peak_memory(subject.module, subject.input_shape, train=train, **conditions)
        for train in (False, True)
    )


def _with_first_times(profiled: Sequence[Profiled]) -> Profiled:
    """The first network with the times from its first pair in each mode."""
    measured = []
    for number, in_mode in enumerate(profiled[1].measured):
        pairs = [other.measured[number].pair for other in profiled[1:]]
        pair = next((pair for pair in pairs if pair is not None), None)
        timing = pair.a if pair is not None else None
        trouble = None if pair is not None else in_mode.trouble
        measured.append(Measured(in_mode.mode, timing, trouble=trouble))
    return replace(profiled[0], measured=tuple(measured))


def read_or_measure_table(
    path: Path,
    subjects: Sequence[Subject],
    timing: dict[str, Any],
    *,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> LatencyTable:
    """The latency table at path for designs among the networks; measured and written if missing.

    Arguments are as for :func:`profile_subjects`.

    Raises:
        InvalidValueError: the MODEL is missing, or the table is invalid or lacks a design's BAM.
        DeviceError: the table cannot be measured under these conditions.
        OutputError: the table cannot be written.
    """
    base = next((subject for subject in subjects if subject.design is None), None)
    if base is None:
        raise InvalidValueError("`latency_table` needs the MODEL without BAM among the networks")
    summary = summarise_base(base.name, Base(base.model, base.image_shape))
    if path.exists():
        table = read_latency_csv(path, summary)
    else:
        table = measure_latency(
            base.model,
            summary=summary,
            reductions=REDUCTIONS,
            dilations=DILATIONS,
            sites="stages",
            seed=seed,
            progress=lambda done, total: step(),
            **timing,
        )
        write_latency_csv(table, path)
    for subject in subjects:
        if subject.design is not None:
            table.predict(subject.design.insertions)
    return table
