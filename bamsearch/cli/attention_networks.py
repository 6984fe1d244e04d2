"""The networks shown by ``bamsearch attention``: planned, then built. Loads torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.attention.pictures import MAX_NETWORKS
from bamsearch.errors import InvalidValueError, NothingToDoError
from bamsearch.export.network import load_network
from bamsearch.graph.designs import DESIGN_FILE, find_design
from bamsearch.graph.models import build_model
from bamsearch.graph.normalisation import normalisation
from bamsearch.graph.sites import find_sites
from bamsearch.profiling.devices import resolve_device
from bamsearch.records import Design
from bamsearch.reporting.text import shape_text

RANDOM_WEIGHTS = "the weights are random (seed {seed}), so the maps are meaningless: {cure}"
FIRST_CURE = "--weights FILE loads trained weights"
OTHER_CURE = "put trained weights beside its design.json, as model.safetensors"
CLOSED = "all gates are 0, as before training: M has no effect yet"


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """One network to show, before it is built.

    Attributes:
        label: name in the output.
        word: DESIGN on the command line.
        design: design that it names.
        file: file of weights on the command line, if any.
        mean: mean subtracted from pixels in 0..1, one number per channel.
        std: standard deviation that divides them, one number per channel.
    """

    label: str
    word: str
    design: Design
    file: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ShownNetwork:
    """A network to show, in memory.

    Attributes:
        request: request that it was built from.
        module: network on its device.
        weights: file of its weights; None if they are random.
        warning: reason to distrust its maps, or "".
    """

    request: NetworkRequest
    module: nn.Module
    weights: Path | None
    warning: str

    @property
    def label(self) -> str:
        """Name in the output."""
        return self.request.label

    @property
    def description(self) -> str:
        """Model, input, weights, variant and init, on one line."""
        design = self.request.design
        weights = "random weights" if self.weights is None else f"weights {self.weights}"
        kind = f"variant {design.variant}, init {design.init}"
        return f"{design.model} · {shape_text(design.input_shape)} · {weights} · {kind}"


def plan_networks(
    design: str,
    weights: Sequence[Path],
    compared: Sequence[str],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> list[NetworkRequest]:
    """Plan the networks: the design with each file of weights, then the compared designs.

    Raises:
        NothingToDoError: a design has no BAM.
        InvalidValueError: a design for clips, too many networks, or a mean or std that does not
            match the channels.
        DesignError, RunError: from :func:`bamsearch.graph.designs.find_design`.
    """
    words = [(design, file) for file in weights or (None,)] + [(other, None) for other in compared]
    if len(words) > MAX_NETWORKS:
        raise InvalidValueError(
            f"{len(words)} networks do not fit side by side: give at most {MAX_NETWORKS}"
        )
    requests = []
    for label, (word, file) in zip(_labels(words), words, strict=True):
        planned = find_design(word)[0]
        _refuse(word, planned)
        usual = normalisation(planned.model, planned.weights)
        channels = planned.input_shape[0]
        of_mean = _by_channel("mean", mean, usual[0], channels)
        of_std = _by_channel("std", std, usual[1], channels)
        requests.append(NetworkRequest(label, word, planned, file, of_mean, of_std))
    return requests


def build_networks(
    requests: Sequence[NetworkRequest], device: str, seed: int, *, whole: bool
) -> list[ShownNetwork]:
    """Build the networks and load their weights.

    Raises:
        InvalidValueError: ``whole`` for a detector, which resizes and pads.
        DeviceError: the device is missing.
        DesignError, WeightsError, ModelError: from :func:`bamsearch.load`.
    """
    resolved_device, first = resolve_device(device), requests[0].word
    networks = []
    for request in requests:
        torch.manual_seed(seed)
        module, _, weights = load_network(request.word, request.file)
        if whole and not any(name == "bam" for name, _ in module.named_children()):
            raise InvalidValueError(
                f"{request.word} resizes photographs itself, so maps would be misplaced: "
                "leave out --full"
            )
        warning = ""
        if weights is None:
            warning = RANDOM_WEIGHTS.format(
                seed=seed, cure=FIRST_CURE if request.word == first else OTHER_CURE
            )
        elif _is_closed(module):
            warning = CLOSED
        networks.append(ShownNetwork(request, module.to(resolved_device), weights, warning))
    return networks


def site_order(networks: Sequence[ShownNetwork]) -> list[str]:
    """All sites of the networks, in the order of execution."""
    designs = [network.request.design for network in networks]
    sites = {insertion.site for design in designs for insertion in design.insertions}
    if len({tuple(i.site for i in design.insertions) for design in designs}) == 1:
        return [insertion.site for insertion in designs[0].insertions]
    order: dict[str, None] = {}
    models = {(d.model, d.input_shape, d.num_classes, d.weights): d for d in designs}
    for design in models.values():
        base = build_model(
            design.model,
            design.input_shape,
            num_classes=design.num_classes,
            weights=design.weights,
            initialise=False,
        )
        order |= dict.fromkeys(site.name for site in find_sites(base, design.input_shape))
    return [site for site in order if site in sites]


def _refuse(word: str, design: Design) -> None:
    if not design.insertions:
        raise NothingToDoError(
            f"{word} has no BAM, so no attention maps: "
            f"'bamsearch insert {design.model} -o DIR' adds BAM"
        )
    if len(design.input_shape) != 3:
        raise InvalidValueError(
            f"{word} expects video clips, not photographs: "
            "use bamsearch.attention_maps(model, clips)"
        )


def _labels(words: Sequence[tuple[str, Path | None]]) -> list[str]:
    """Short labels, or long labels where short ones coincide."""
    several = sum(file is not None for _, file in words) > 1
    short, long = [], []
    for word, file in words:
        path = Path(word)
        path = path.parent if path.name == DESIGN_FILE else path
        short.append(file.stem if several and file else path.resolve().name)
        long.append(str(file) if several and file else word)
    counts = Counter(short)
    labels = [a if counts[a] == 1 else b for a, b in zip(short, long, strict=True)]
    return [
        label if label not in labels[:number] else f"{label} ({number + 1})"
        for number, label in enumerate(labels)
    ]


def _by_channel(
    name: str, typed: tuple[float, ...] | None, usual: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """One number per channel; the default for one channel is the mean of the usual three."""
    values = usual if typed is None else typed
    if typed is None and channels == 1:
        return (sum(usual) / len(usual),)
    if len(values) not in (1, channels):
        raise InvalidValueError(
            f"--{name} has {len(values)} numbers for {channels} channels: give 1 or {channels}"
        )
    return values if len(values) == channels else values * channels


def _is_closed(module: nn.Module) -> bool:
    gates = [bam.gate for bam in module.modules() if isinstance(bam, BAM)]
    return all(gate is not None and gate.item() == 0 for gate in gates)
