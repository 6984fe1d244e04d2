"""The networks that ``bamsearch attention`` shows: asked for, then built. Loads torch."""

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
from bamsearch.profile.devices import resolve_device
from bamsearch.records import Design
from bamsearch.report.text import shape_text

RANDOM = "its weights are random (seed {seed}), so that its maps mean nothing: {cure}"
FIRST_CURE = "--weights FILE loads trained ones"
OTHER_CURE = "trained ones are a model.safetensors beside its design.json"
CLOSED = "its gates are all 0, as before training: M has no effect yet"


@dataclass(frozen=True, slots=True)
class Asked:
    """One network to show, before it is built.

    Attributes:
        label: what to call it.
        word: the DESIGN that was given.
        design: what it means.
        file: the weights that were given, if any.
        mean: taken from the pixels in 0..1, one number a channel.
        std: what they are then divided by.
    """

    label: str
    word: str
    design: Design
    file: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network to show, in memory.

    Attributes:
        asked: what it was built from.
        module: the network, on its device.
        weights: where its weights are from; None when they are random.
        warning: what to know before believing its maps; "" for nothing.
    """

    asked: Asked
    module: nn.Module
    weights: Path | None
    warning: str

    @property
    def label(self) -> str:
        """What to call it."""
        return self.asked.label

    @property
    def about(self) -> str:
        """Model, input, weights and how BAM starts, in one line."""
        design = self.asked.design
        weights = "random weights" if self.weights is None else f"weights {self.weights}"
        kind = f"variant {design.variant}, init {design.init}"
        return f"{design.model} · {shape_text(design.input_shape)} · {weights} · {kind}"


def plan(
    design: str,
    weights: Sequence[Path],
    others: Sequence[str],
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> list[Asked]:
    """The networks that are asked for: the design with each file of weights, then the others.

    Raises:
        NothingToDoError: a design without BAM.
        InvalidValueError: a design for clips, too many networks, a mean or std of other channels.
        DesignError, RunError: as :func:`bamsearch.graph.designs.find_design`.
    """
    words = [(design, file) for file in weights or (None,)] + [(other, None) for other in others]
    if len(words) > MAX_NETWORKS:
        raise InvalidValueError(
            f"{len(words)} networks do not fit side by side: give {MAX_NETWORKS} at most"
        )
    asked = []
    for label, (word, file) in zip(_labels(words), words, strict=True):
        found = find_design(word)[0]
        _refuse(word, found)
        usual = normalisation(found.model, found.weights)
        channels = found.input_shape[0]
        of_mean = _by_channel("mean", mean, usual[0], channels)
        of_std = _by_channel("std", std, usual[1], channels)
        asked.append(Asked(label, word, found, file, of_mean, of_std))
    return asked


def open_networks(asked: Sequence[Asked], device: str, seed: int, *, whole: bool) -> list[Network]:
    """Build the networks and load their weights.

    Raises:
        InvalidValueError: whole photographs for a detector, which resizes and pads.
        DeviceError: there is no such device.
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    where, first = resolve_device(device), asked[0].word
    networks = []
    for one in asked:
        torch.manual_seed(seed)
        module, _, weights = load_network(one.word, one.file)
        if whole and not any(name == "bam" for name, _ in module.named_children()):
            raise InvalidValueError(
                f"{one.word} resizes photographs itself, so that maps would be out of place: "
                "leave out --full"
            )
        warning = ""
        if weights is None:
            warning = RANDOM.format(seed=seed, cure=FIRST_CURE if one.word == first else OTHER_CURE)
        elif _is_closed(module):
            warning = CLOSED
        networks.append(Network(one, module.to(where), weights, warning))
    return networks


def site_order(networks: Sequence[Network]) -> list[str]:
    """Every site of the networks, in the order in which a model comes to them."""
    designs = [network.asked.design for network in networks]
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
            f"{word} has no BAM, so no attention: "
            f"'bamsearch insert {design.model} -o DIR' puts it in"
        )
    if len(design.input_shape) != 3:
        raise InvalidValueError(
            f"{word} takes clips, and a photograph is none: "
            "bamsearch.attention_maps(model, clips) takes them"
        )


def _labels(words: Sequence[tuple[str, Path | None]]) -> list[str]:
    """Short names, or longer ones where short ones are the same."""
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
    name: str, given: tuple[float, ...] | None, usual: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    """One number a channel; a grey network gets the mean of the usual three."""
    values = usual if given is None else given
    if given is None and channels == 1:
        return (sum(usual) / len(usual),)
    if len(values) not in (1, channels):
        raise InvalidValueError(f"--{name} has {len(values)} numbers for {channels} channels")
    return values if len(values) == channels else values * channels


def _is_closed(module: nn.Module) -> bool:
    gates = [bam.gate for bam in module.modules() if isinstance(bam, BAM)]
    return all(gate is not None and gate.item() == 0 for gate in gates)
