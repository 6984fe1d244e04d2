"""The public function ``show_attention``: what networks attend to in photographs."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from bamsearch.attention.bam import bams_of
from bamsearch.attention.levels import Levels
from bamsearch.attention.maps import AttentionMap, attention_maps
from bamsearch.attention.photographs import Framed, as_input, frame, read_photograph
from bamsearch.attention.pictures import (
    MAX_NETWORKS,
    Heat,
    SheetColumn,
    sheet_paths,
    write_sheet,
)
from bamsearch.errors import (
    InvalidValueError,
    ModelError,
    NothingToDoError,
    WeightsError,
)
from bamsearch.files import check_output_file
from bamsearch.graph.bams import fork_rng
from bamsearch.graph.designs import DESIGN_FILE, find_design, load_network
from bamsearch.graph.models import base_model
from bamsearch.graph.sites import find_sites
from bamsearch.graph.weights import normalisation
from bamsearch.profiling.devices import resolve_device
from bamsearch.records import Design, ValueRange, value_range_text
from bamsearch.records.arguments import checked
from bamsearch.reporting.text import shape_text

LEAST_STD = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ShownNetwork:
    """A network whose maps are shown.

    Attributes:
        label: short name.
        source: the DESIGN that names it.
        design: its design.
        module: the network on its device.
        weights: file of its weights; None if they are random.
        mean: mean subtracted from pixels in 0..1, one number per channel.
        std: standard deviation that divides them, one number per channel.
        warning: reason to distrust its maps, or "".
    """

    label: str
    source: str
    design: Design
    module: nn.Module
    weights: Path | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    warning: str

    @property
    def description(self) -> str:
        """Model, input, weights, variant and init, on one line."""
        design = self.design
        weights = "random weights" if self.weights is None else f"weights {self.weights}"
        kind = f"variant {design.variant}, init {design.init}"
        return f"{design.model} · {shape_text(design.input_shape)} · {weights} · {kind}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, mean and maximum."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class MapNumbers:
    """Numbers of the maps of one BAM for one photograph.

    Attributes:
        network: label of the network.
        site: name of the site.
        map_shape: C, H and W of the feature map.
        reduction: r.
        dilation: d.
        gate: gate with init identity, else None.
        m_c: spread of sigmoid(M_c) over the channels.
        m_s: spread of sigmoid(M_s) over the positions.
        m: spread of M over both.
        peak_cell: row and column of the maximum of M_s; None if M_s is constant.
        peak: centre of that cell as x, y in pixels of the upright photograph.
    """

    network: str
    site: str
    map_shape: tuple[int, ...]
    reduction: int
    dilation: int
    gate: float | None
    m_c: Spread
    m_s: Spread
    m: Spread
    peak_cell: tuple[int, int] | None
    peak: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class PhotographMaps:
    """The maps of one photograph.

    Attributes:
        path: file of the photograph.
        size: width and height in pixels, upright.
        framed: the photograph in the input size of each network.
        numbers: numbers by network, with sites in the order of the network.
        sheet: file of its contact sheet, if any.
    """

    path: Path
    size: tuple[int, int]
    framed: tuple[Framed, ...]
    numbers: tuple[MapNumbers, ...]
    sheet: Path | None


@checked
def show_attention(  # noqa: PLR0913
    design: str | os.PathLike[str],
    images: Sequence[str | os.PathLike[str]],
    *,
    compared: Sequence[str | os.PathLike[str]] = (),
    weights: Sequence[str | os.PathLike[str]] = (),
    full: bool = False,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    value_range: ValueRange | None = None,
    device: str = "auto",
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    dry_run: bool = False,
    callback: Callable[[], None] | None = None,
) -> tuple[list[ShownNetwork], list[PhotographMaps]]:
    """Compute what BAM attends to in photographs, and draw a contact sheet of each.

    A sheet has one row per site, with M_s and M as heat maps over the photograph and M_c as a curve
    over the channels, and one column per network. :func:`bamsearch.attention_maps` takes tensors.

    Args:
        design: a design on disk, see :func:`bamsearch.load`.
        images: photographs of any size; they are scaled to the input and cropped to the centre.
        compared: more designs.
        weights: files of weights of the first design, one network each; none is the file beside it.
        full: show the whole photographs, at their aspect ratio.
        mean: mean subtracted from pixels in 0..1, for all channels or each; None is the MODEL's.
        std: standard deviation that divides them; None is the MODEL's.
        value_range: pixel values shown as black and white in files of more than 8 bits.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        seed: random seed of weights that are not stored.
        output: folder of the sheets, one PNG per photograph; None draws none.
        force: replace existing files.
        dry_run: name the sheets without drawing them.
        callback: called after each photograph.

    Returns:
        The networks, and the maps of each photograph.

    Raises:
        NothingToDoError: a design has no BAM.
        InvalidValueError: a file that is not an image, a design for clips, too many networks, or a
            mean or std that does not match the channels.
        DataError: the value range of a file of more than 8 bits is ambiguous.
        OutputError: a sheet exists and force is False, would replace a photograph, or cannot be
            written.
        DesignError, RunError, WeightsError, ModelError, DeviceError: as :func:`bamsearch.load`.
    """
    if std and min(std) < LEAST_STD:
        raise InvalidValueError(
            f"`std` must be at least {LEAST_STD:g}, as it is a divisor: give larger numbers"
        )
    paths = list(dict.fromkeys(map(Path, images)))
    sheets = sheet_paths(paths, None if output is None else Path(output))
    for sheet in sheets:
        check_output_file(sheet, force=force)
    first = os.fspath(design)
    sources: list[tuple[str, Path | None]] = [(first, Path(file)) for file in weights]
    sources = sources or [(first, None)]
    sources += [(os.fspath(other), None) for other in compared]
    designs = _designs([source for source, _ in sources])
    inputs = [_normalisation(planned, mean, std) for planned in designs]
    photographs = _framed(paths, [d.input_shape for d in designs], value_range, whole=full)
    networks = list(_networks(sources, inputs, resolve_device(device), seed, full))
    order = _site_order(designs)
    results = []
    for (path, size, framed), sheet in zip_longest(photographs, sheets):
        numbers, columns = _maps(networks, framed)
        results.append(PhotographMaps(path, size, framed, tuple(numbers), sheet))
        if sheet is not None and not dry_run:
            write_sheet(sheet, f"{path.name} · {shape_text(size)}", columns, order)
        if callback is not None:
            callback()
    return networks, results


def _designs(sources: Sequence[str]) -> list[Design]:
    if len(sources) > MAX_NETWORKS:
        raise InvalidValueError(
            f"{len(sources)} networks do not fit side by side: give at most {MAX_NETWORKS}"
        )
    designs = [find_design(source)[0] for source in sources]
    for source, design in zip(sources, designs, strict=True):
        if not design.insertions:
            raise NothingToDoError(
                f"{source} has no BAM, so no attention maps: "
                f"'bamsearch insert {design.model} -o DIR' adds BAM"
            )
        if len(design.input_shape) != 3:
            raise InvalidValueError(
                f"{source} expects video clips, not photographs: "
                "use bamsearch.attention_maps(model, clips)"
            )
    return designs


def _labels(sources: Sequence[tuple[str, Path | None]]) -> list[str]:
    """Short labels, or long labels where short ones coincide."""
    several = sum(file is not None for _, file in sources) > 1
    short, long = [], []
    for source, file in sources:
        path = Path(source)
        path = path.parent if path.name == DESIGN_FILE else path
        short.append(file.stem if several and file else path.resolve().name)
        long.append(str(file) if several and file else source)
    counts = Counter(short)
    labels = [a if counts[a] == 1 else b for a, b in zip(short, long, strict=True)]
    return [
        label if label not in labels[:number] else f"{label} ({number + 1})"
        for number, label in enumerate(labels)
    ]


def _normalisation(
    design: Design, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, one number per channel each.

    The default for one channel is the mean of the MODEL's three.
    """
    channels = design.input_shape[0]
    usual = normalisation(design.model, design.weights)

    def by_channel(
        name: str, values: tuple[float, ...] | None, usual: tuple[float, ...]
    ) -> tuple[float, ...]:
        if values is None and channels == 1:
            return (sum(usual) / len(usual),)
        values = usual if values is None else values
        if len(values) not in (1, channels):
            raise InvalidValueError(
                f"`{name}` has {len(values)} numbers for {channels} channels: give 1 or {channels}"
            )
        return values if len(values) == channels else values * channels

    return by_channel("mean", mean, usual[0]), by_channel("std", std, usual[1])


def _framed(
    paths: Sequence[Path],
    shapes: Sequence[tuple[int, ...]],
    value_range: ValueRange | None,
    *,
    whole: bool,
) -> list[tuple[Path, tuple[int, int], tuple[Framed, ...]]]:
    """Path, size and the inputs of each photograph."""
    levels = Levels(value_range)
    photographs = []
    for path in paths:
        picture = read_photograph(path, value_range, levels)
        framed = tuple(frame(picture, shape, whole=whole) for shape in shapes)
        photographs.append((path, picture.size, framed))
    levels.check()
    if value_range is not None and not levels.uses_range:
        raise InvalidValueError(
            f"`value_range={value_range_text(value_range)}` is for files of more than 8 bits, but "
            "these have 8 bits or fewer: leave it out"
        )
    return photographs


def _networks(
    sources: Sequence[tuple[str, Path | None]],
    inputs: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
    device: torch.device,
    seed: int,
    full: bool,
) -> Iterator[ShownNetwork]:
    for label, (source, file), options in zip(_labels(sources), sources, inputs, strict=True):
        with fork_rng(seed):
            module, design, weights = load_network(source, file)
        if full and not hasattr(module, "bam"):
            raise InvalidValueError(
                f"{source} resizes photographs itself, so maps would be misplaced: leave out `full`"
            )
        is_first = source == sources[0][0]
        warning = _warning(module, seed if weights is None else None, is_first=is_first)
        yield ShownNetwork(label, source, design, module.to(device), weights, *options, warning)


def _warning(module: nn.Module, seed: int | None, *, is_first: bool) -> str:
    """Reason to distrust the maps of a network whose weights are random if a seed is given."""
    if seed is not None:
        beside = "put trained weights beside its design.json, as model.safetensors"
        cure = "`weights=FILE` loads trained weights" if is_first else beside
        return f"the weights are random (seed {seed}), so the maps are meaningless: {cure}"
    gates = [bam.gate for bam in bams_of(module).values()]
    if all(gate is not None and gate.item() == 0 for gate in gates):
        return "all gates are 0, as before training: M has no effect yet"
    return ""


def _site_order(designs: Sequence[Design]) -> list[str]:
    """All sites of the designs, in the order of execution."""
    chosen = [[insertion.site for insertion in design.insertions] for design in designs]
    if all(sites == chosen[0] for sites in chosen):
        return chosen[0]
    models = {(d.model, d.input_shape, d.num_classes, d.weights): d for d in designs}
    order: dict[str, None] = {}
    for design in models.values():
        base = base_model(design, initialise=False)
        order |= dict.fromkeys(site.name for site in find_sites(base, design.input_shape))
    return [site for site in order if any(site in sites for sites in chosen)]


def _maps(
    networks: Sequence[ShownNetwork], framed: Sequence[Framed]
) -> tuple[list[MapNumbers], list[SheetColumn]]:
    """The maps of a photograph, as numbers and as columns of a sheet."""
    numbers, columns = [], []
    for network, picture in zip(networks, framed, strict=True):
        maps = _maps_by_site(network, as_input(picture.picture, network.mean, network.std))
        for site, attention in maps.items():
            if not attention.m.isfinite().all():
                raise WeightsError(
                    f"{network.label} has maps at {site} that are not finite: "
                    f"check its weights, {network.weights}"
                )
            numbers.append(_numbers(network.label, site, attention, picture))
        heats = {site: _heat(attention) for site, attention in maps.items()}
        about = network.description, network.warning
        columns.append(SheetColumn(network.label, *about, picture.picture, heats))
    return numbers, columns


def _maps_by_site(network: ShownNetwork, images: Tensor) -> dict[str, AttentionMap]:
    sites = {i.site.replace(".", "_"): i.site for i in network.design.insertions}
    try:
        # torch.fx prints the code around an error to stderr; the error message is enough
        with redirect_stderr(io.StringIO()):
            by_call = attention_maps(network.module, images)
    except ModelError as error:
        if tuple(images.shape[1:]) == network.design.input_shape:
            raise
        raise ModelError(f"{error}; leave out `full`, or name another design") from error
    maps = {}
    for attention in by_call:
        site = sites[attention.path.rpartition(".")[2]]
        maps[site if attention.call == 1 else f"{site} (call {attention.call})"] = attention
    return maps


def _numbers(label: str, site: str, attention: AttentionMap, framed: Framed) -> MapNumbers:
    m_s = attention.m_s[0].sigmoid()
    height, width = m_s.shape
    cell = divmod(int(m_s.argmax()), width)
    constant = bool(m_s.min() == m_s.max())
    return MapNumbers(
        network=label,
        site=site,
        map_shape=tuple(attention.m.shape[1:]),
        reduction=attention.reduction,
        dilation=attention.dilation,
        gate=attention.gate,
        m_c=_spread(attention.m_c.sigmoid()),
        m_s=_spread(m_s),
        m=_spread(attention.m),
        peak_cell=None if constant else cell,
        peak=None if constant else framed.place(*cell, height, width),
    )


def _spread(values: Tensor) -> Spread:
    return Spread(values.min().item(), values.double().mean().item(), values.max().item())


def _heat(attention: AttentionMap) -> Heat:
    gate = "" if attention.gate is None else f" · gate {attention.gate:.3g}"
    return Heat(
        shape_text(attention.m.shape[1:]),
        f"r{attention.reduction} d{attention.dilation}{gate}",
        attention.m_c[0].sigmoid().numpy(),
        attention.m_s[0].sigmoid().numpy(),
        attention.m[0].mean(0).numpy(),
    )
