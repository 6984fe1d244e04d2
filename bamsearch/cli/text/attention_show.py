"""Attention maps of photographs, as numbers and as columns of a sheet. Loads torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bamsearch.attention.heat import Heat, SheetColumn
from bamsearch.attention.levels import Levels
from bamsearch.attention.maps import AttentionMap, attention_maps
from bamsearch.attention.photographs import Framed, as_input, frame, read_photograph
from bamsearch.attention.pictures import contact_sheet
from bamsearch.cli.attention_networks import NetworkRequest, ShownNetwork
from bamsearch.errors import InvalidValueError, ModelError, WeightsError
from bamsearch.files import write_whole
from bamsearch.records import ValueRange, value_range_text
from bamsearch.reporting.text import shape_text


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A photograph, in the input size of each network.

    Attributes:
        path: path of the file.
        size: width and height in pixels, upright.
        framed: framed photograph for each network.
    """

    path: Path
    size: tuple[int, int]
    framed: tuple[Framed, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, mean and maximum."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of one BAM for one photograph.

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
    """The numbers of one photograph.

    Attributes:
        photograph: the photograph.
        numbers: numbers by network, with sites in the order of the network.
    """

    photograph: Photograph
    numbers: tuple[Numbers, ...]


def frame_all(
    paths: Sequence[Path],
    requests: Sequence[NetworkRequest],
    value_range: ValueRange | None = None,
    *,
    whole: bool,
) -> list[Photograph]:
    """Read photographs and frame each for the input size of each network.

    Args:
        paths: files of the photographs.
        requests: requested networks.
        value_range: pixel values shown as black and white in files of more than 8 bits.
        whole: see :func:`bamsearch.attention.photographs.frame`.

    Raises:
        InvalidValueError: a file cannot be read, a network does not take photographs, or all
            files have 8 bits although a value range is set.
        DataError: the value range of a file of more than 8 bits is ambiguous.
    """
    levels = Levels(value_range)
    photographs = []
    for path in paths:
        picture = read_photograph(path, value_range, levels)
        framed = tuple(
            frame(picture, request.design.input_shape, whole=whole) for request in requests
        )
        photographs.append(Photograph(path, picture.size, framed))
    levels.check()
    if value_range is not None and not levels.uses_range:
        raise InvalidValueError(
            f"--value-range {value_range_text(value_range)} is for files of more than 8 bits, but "
            "these have 8 bits or fewer: leave it out"
        )
    return photographs


def show(
    networks: Sequence[ShownNetwork], photograph: Photograph
) -> tuple[PhotographMaps, list[SheetColumn]]:
    """Compute the attention maps of a photograph, as numbers and as columns of a sheet.

    Raises:
        ModelError: a network does not take a photograph of this size.
        WeightsError: the maps of a network are not finite.
    """
    numbers: list[Numbers] = []
    columns = []
    for network, framed in zip(networks, photograph.framed, strict=True):
        images = as_input(framed.picture, network.request.mean, network.request.std)
        maps = _maps_by_site(network, images)
        for site, attention in maps.items():
            if not attention.m.isfinite().all():
                raise WeightsError(
                    f"{network.label} has maps at {site} that are not finite: "
                    f"check its weights, {network.weights}"
                )
            numbers.append(_numbers(network.label, site, attention, framed))
        heats = {site: _heat(attention) for site, attention in maps.items()}
        columns.append(
            SheetColumn(network.label, network.description, network.warning, framed.picture, heats)
        )
    return PhotographMaps(photograph, tuple(numbers)), columns


def write_sheet(
    path: Path, photograph: Photograph, columns: Sequence[SheetColumn], sites: Sequence[str]
) -> None:
    """Draw a contact sheet and write it atomically.

    Args:
        path: path of the sheet; missing folders are created.
        photograph: photograph of the sheet.
        columns: one column per network.
        sites: order of the rows.

    Raises:
        OutputError: the sheet cannot be written.
    """
    title = f"{photograph.path.name} · {shape_text(photograph.size)}"
    executed = [site for column in columns for site in column.heats]
    # sites that were not executed have no row, and sites that were executed twice have two
    rows = [site for site in dict.fromkeys([*sites, *executed]) if site in executed]
    write_whole(path, contact_sheet(title, columns, rows))


def _maps_by_site(network: ShownNetwork, images: Tensor) -> dict[str, AttentionMap]:
    sites = {i.site.replace(".", "_"): i.site for i in network.request.design.insertions}
    try:
        # torch.fx prints the code around an error to stderr; the error message is enough
        with redirect_stderr(io.StringIO()):
            by_call = attention_maps(network.module, images)
    except ModelError as error:
        design = network.request.design
        if tuple(images.shape[1:]) == design.input_shape:
            raise
        raise ModelError(f"{error}; leave out --full, or name another design") from error
    maps = {}
    for attention in by_call:
        site = sites[attention.path.rpartition(".")[2]]
        maps[site if attention.call == 1 else f"{site} (call {attention.call})"] = attention
    return maps


def _numbers(label: str, site: str, attention: AttentionMap, framed: Framed) -> Numbers:
    m_s = attention.m_s[0].sigmoid()
    height, width = m_s.shape
    cell = divmod(int(m_s.argmax()), width)
    constant = bool(m_s.min() == m_s.max())
    return Numbers(
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
