"""Compare networks: count each, and time it against the first."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

from torch import nn

from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.graph.designs import build, find_design, is_design, load
from bamsearch.graph.models import build_model, default_input_shape, model_names, named_module
from bamsearch.graph.network import find_network
from bamsearch.graph.placement import place
from bamsearch.profiling.clock import Clock
from bamsearch.profiling.counting import count, count_activations
from bamsearch.profiling.memory import peak_memory
from bamsearch.profiling.single_bams import bams_alone
from bamsearch.profiling.summary import summarise
from bamsearch.profiling.timing import time_model, time_pair
from bamsearch.profiling.workload import Conditions
from bamsearch.records import (
    Cost,
    Design,
    Insertion,
    Memory,
    Mode,
    PairedTiming,
    Site,
    Timing,
    check_input_size,
)
from bamsearch.records.arguments import checked


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
        measured: latencies, one entry per mode.
        memory: peak memory of inference and of a training step, if requested.
    """

    subject: Subject
    cost: Cost
    activations: dict[str, int]
    measured: tuple[Measured, ...] = ()
    memory: tuple[Memory, ...] = ()


Network = str | os.PathLike[str] | Design | nn.Module | Subject


def open_subjects(
    networks: Sequence[Network],
    input_size: tuple[int, int] | int | None = None,
    num_classes: int | None = None,
) -> list[Subject]:
    """Build each network: a design on disk if it exists, else a MODEL; others are taken as given.

    If a design derived from a MODEL is also among the networks, the MODEL is built with the input
    and classes of the design, so that the two are comparable.

    Args:
        networks: see :func:`profile`.
        input_size: (H, W) of the input of a MODEL or module; None is that of its design, else the
            model's default, and 224x224 for a module. Ignored for designs.
        num_classes: classes of a MODEL's head; None as for input_size.

    Raises:
        ModelError, DesignError, WeightsError: a network cannot be built.
    """
    size = None if input_size is None else check_input_size(input_size)
    named = [_named(network) for network in dict.fromkeys(networks)]
    designs = [_design_of(network) for network in named]
    of_model = {design.model: design for design in designs if design is not None}
    subjects = []
    for network, design in zip(named, designs, strict=True):
        if isinstance(network, Subject):
            subjects.append(network)
            continue
        if isinstance(network, nn.Module):
            name, module, shape = named_module(network, (3, *(size or (224, 224))))
        elif design is not None:
            name = network if isinstance(network, str) else design.model
            module = load(network) if isinstance(network, str) else build(design)
            shape = design.input_shape
        else:
            name, like = str(network), of_model.get(str(network))
            default = default_input_shape(name) if like is None else like.input_shape
            shape = (*default[:-2], *size) if size else default
            module = build_model(
                name,
                shape,
                num_classes=num_classes or (like.num_classes if like else None),
                weights=like.weights if like and num_classes is None else None,
            )
        part = find_network(module, shape)
        subjects.append(
            Subject(name, module, shape, part.module, part.path, part.input_shape, design)
        )
    return subjects


def _named(network: Network) -> str | Design | nn.Module | Subject:
    return os.fspath(network) if isinstance(network, os.PathLike) else network


def _design_of(network: Network) -> Design | None:
    if isinstance(network, Design):
        return network
    # If a run has the name of a model, the name means the model; the run's path still works.
    if not isinstance(network, str) or network in model_names() or not is_design(network):
        return None
    return find_design(network)[0]


@checked
def profile(
    *networks: Network,
    input_size: tuple[int, int] | int | None = None,
    num_classes: int | None = None,
    modes: Sequence[Mode] = ("eager",),
    memory: bool = False,
    samples: int = 40,
    seed: int = 0,
    clock: Clock | None = None,
    step: Callable[[], None] = lambda: None,
    **conditions: Unpack[Conditions],
) -> list[Profiled]:
    """Count and time each network: a single network alone, several paired with the first.

    Args:
        networks: MODELs; designs, their files or folders, and runs; or modules, which are not
            changed.
        input_size: (H, W) of the input of a MODEL or module, or one number for both; None is that
            of its design, else the model's default, and 224x224 for a module.
        num_classes: classes of a MODEL's head; None is the model's default.
        modes: modes to time; if empty, networks are only counted. Modes in which a network does
            not run are reported, and the other modes are still timed.
        memory: measure peak memory too.
        samples: number of samples per timing.
        seed: random seed of the order within pairs and of the bootstrap intervals.
        clock: clock for the timings; None is the device's default.
        step: called after each measurement.
        conditions: device, batch_size and so on, without ``mode``.

    Raises:
        ModelError, DesignError, WeightsError: a network cannot be built or counted.
        DeviceError: the device does not exist, or its memory is too small.
        InvalidValueError: no network, or a condition out of range.
    """
    if not networks:
        raise InvalidValueError("profile needs a network: a MODEL, a design or a module")
    subjects = open_subjects(networks, input_size, num_classes)
    profiled = []
    for number, subject in enumerate(subjects):
        cost = count(subject.module, subject.input_shape)
        activations = count_activations(subject.module, subject.input_shape)
        step()
        first = subjects[0] if number else None
        measured = []
        # With several networks, the first network's time comes from its pair with the second.
        for mode in modes if number or len(subjects) == 1 else ():
            in_mode: Conditions = {**conditions, "mode": mode}
            measured.append(_measure(first, subject, samples, seed, clock, in_mode))
            step()
        peaks = _memory(subject, conditions) if memory else ()
        profiled.append(Profiled(subject, cost, activations, tuple(measured), peaks))
    if len(subjects) > 1 and modes:
        profiled[0] = _with_first_times(profiled)
    return profiled


def _measure(
    first: Subject | None,
    subject: Subject,
    samples: int,
    seed: int,
    clock: Clock | None,
    conditions: Conditions,
) -> Measured:
    mode, shape = conditions["mode"], subject.input_shape
    if first is not None and first.input_shape != shape:
        trouble = f"its input is {shape}, but that of the first network is {first.input_shape}"
        return Measured(mode, None, trouble=trouble)
    try:
        sites = _site_times(subject, samples, clock, conditions)
        if first is None:
            timing = time_model(subject.module, shape, samples=samples, clock=clock, **conditions)
            return Measured(mode, timing, sites=sites)
        pair = time_pair(
            first.module,
            subject.module,
            shape,
            samples=samples,
            seed=seed,
            clock=clock,
            **conditions,
        )
        return Measured(mode, pair.b, pair, sites)
    except DeviceError as error:
        return Measured(mode, None, trouble=str(error))


def _site_times(
    subject: Subject, samples: int, clock: Clock | None, conditions: Conditions
) -> tuple[tuple[Site, Insertion, Timing], ...]:
    """Time each BAM of a design alone, on a map of the size at its site."""
    design = subject.design
    if design is None:
        return ()
    summary = summarise(design.model, design.input_shape[-2:], design.num_classes, design.weights)
    sites = place(summary.sites, [insertion.site for insertion in design.insertions])
    times = []
    for site, insertion in zip(sites, design.insertions, strict=True):
        alone = bams_alone(
            [site],
            [(insertion.reduction, insertion.dilation)],
            variant=design.variant,
            init=design.init,
            memory_format=conditions.get("memory_format", "contiguous"),
        )
        ((module, shape),) = alone.values()
        timing = time_model(module, shape, samples=samples, clock=clock, **conditions)
        times.append((site, insertion, timing))
    return tuple(times)


def _memory(subject: Subject, conditions: Conditions) -> tuple[Memory, ...]:
    """Peak memory of inference and of a training step."""
    module, shape = subject.module, subject.input_shape
    device = conditions.get("device", "cpu")
    batch_size = conditions.get("batch_size", 1)
    dtype = conditions.get("dtype", "float32")
    memory_format = conditions.get("memory_format", "contiguous")
    return tuple(
        peak_memory(
            module,
            shape,
            device=device,
            batch_size=batch_size,
            dtype=dtype,
            memory_format=memory_format,
            train=train,
        )
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
