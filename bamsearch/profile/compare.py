"""Networks side by side: counted, and timed against the first of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from bamsearch.errors import DeviceError
from bamsearch.graph.designs import DESIGN_FILE, design_file, load, read_design
from bamsearch.graph.models import build_model, default_input_shape
from bamsearch.graph.network import find_network
from bamsearch.profile.counting import count, count_activations
from bamsearch.profile.timing import time_model, time_pair
from bamsearch.records import Cost, Design, Mode, PairedTiming, Timing


@dataclass(frozen=True, slots=True)
class Subject:
    """A network to be profiled.

    Attributes:
        name: as it was asked for: a MODEL, or a DESIGN's path.
        module: the part of it that is counted and timed, in train mode, on the CPU.
        part: that part's path; "" for the whole, ``backbone.body`` for a detector.
        input_shape: what the part is given, without the batch.
        design: what is inserted; None for a MODEL.
    """

    name: str
    module: nn.Module
    part: str
    input_shape: tuple[int, ...]
    design: Design | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A network's times in one mode.

    Attributes:
        mode: eager, compile or cudagraph.
        timing: its own; None where it does not run in this mode.
        pair: against the first network; None for the first.
        trouble: why there is no timing.
    """

    mode: Mode
    timing: Timing | None
    pair: PairedTiming | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Profiled:
    """What is known of a network.

    Attributes:
        subject: the network.
        cost: counted on it, not derived from the base's.
        activations: elements that convolutions and matrix products put out, by module; "" is all.
        measured: one a mode.
    """

    subject: Subject
    cost: Cost
    activations: dict[str, int]
    measured: tuple[Measured, ...] = field(default=())


def open_subject(
    target: str, size: Sequence[int] | None = None, num_classes: int | None = None
) -> Subject:
    """Build what TARGET names: a design on disk if there is one, else a MODEL.

    Args:
        target: a ``design.json``, a folder with one, or a MODEL.
        size: (H, W) of a MODEL's input; None is its own. A design has its own.
        num_classes: of a MODEL's head; None is its own.

    Raises:
        ModelError, DesignError, WeightsError: it cannot be built.
    """
    path = Path(target)
    design = None
    if path.name == DESIGN_FILE or (path / DESIGN_FILE).exists():
        design = read_design(design_file(path))
        module, shape = load(path), design.input_shape
    else:
        shape = default_input_shape(target)
        shape = (*shape[:-2], *size) if size else shape
        module = build_model(target, shape, num_classes=num_classes)
    network = find_network(module, shape)
    return Subject(target, network.module, network.path, network.input_shape, design)


def profile(
    subjects: Sequence[Subject],
    *,
    modes: Sequence[Mode] = (),
    step: Callable[[], None] = lambda: None,
    **conditions: Any,
) -> list[Profiled]:
    """Count every network, and time it: the first alone, the others paired with the first.

    Args:
        subjects: the networks.
        modes: in which to time; none only counts. A mode in which a network does not run is
            reported and the others are still timed.
        step: called after each count and each timing.
        conditions: as :func:`bamsearch.profile.timing.time_pair`: device, batch_size and so on.

    Raises:
        ModelError: a network cannot be counted.
    """
    profiled = []
    for number, subject in enumerate(subjects):
        cost = count(subject.module, subject.input_shape)
        activations = count_activations(subject.module, subject.input_shape)
        step()
        measured = []
        for mode in modes:
            first = subjects[0] if number else None
            # With others to come the first one's time is taken from its pair with the second.
            if number or len(subjects) == 1:
                measured.append(_measure(first, subject, mode, conditions))
                step()
        profiled.append(Profiled(subject, cost, activations, tuple(measured)))
    if len(subjects) > 1 and modes:
        profiled[0] = _first(profiled)
    return profiled


def _measure(
    first: Subject | None, subject: Subject, mode: Mode, conditions: dict[str, Any]
) -> Measured:
    try:
        if first is None:
            timing = time_model(subject.module, subject.input_shape, mode=mode, **conditions)
            return Measured(mode, timing)
        if first.input_shape != subject.input_shape:
            raise DeviceError(f"inputs differ: {first.input_shape} and {subject.input_shape}")
        pair = time_pair(
            first.module, subject.module, subject.input_shape, mode=mode, **conditions
        )
        return Measured(mode, pair.b, pair)
    except DeviceError as error:
        return Measured(mode, None, trouble=str(error))


def _first(profiled: Sequence[Profiled]) -> Profiled:
    """The first network with the times from its first pair in each mode."""
    measured = []
    for number, in_mode in enumerate(profiled[1].measured):
        pairs = [other.measured[number].pair for other in profiled[1:]]
        pair = next((pair for pair in pairs if pair is not None), None)
        timing = pair.a if pair is not None else None
        trouble = None if pair is not None else in_mode.trouble
        measured.append(Measured(in_mode.mode, timing, trouble=trouble))
    base = profiled[0]
    return Profiled(base.subject, base.cost, base.activations, tuple(measured))
