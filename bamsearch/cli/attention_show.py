"""What networks say of a photograph, as numbers and as columns of a sheet. Loads torch."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bamsearch.attention.heat import Column, Heat
from bamsearch.attention.levels import Levels
from bamsearch.attention.maps import AttentionMap, attention_maps
from bamsearch.attention.photographs import Framed, as_input, frame, read_photograph
from bamsearch.attention.pictures import contact_sheet
from bamsearch.cli.attention_networks import Asked, Network
from bamsearch.errors import InvalidValueError, ModelError, OutputError, WeightsError
from bamsearch.records import ValueRange, value_range_text
from bamsearch.report.text import shape_text


@dataclass(frozen=True, slots=True, eq=False)
class Photograph:
    """A photograph, in the size that each network wants.

    Attributes:
        path: its file.
        size: its width and height, upright.
        framed: one for each network.
    """

    path: Path
    size: tuple[int, int]
    framed: tuple[Framed, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, mean and greatest value."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one BAM says of one photograph.

    Attributes:
        network: its label.
        site: where.
        map_shape: C, H and W there.
        reduction: r.
        dilation: d.
        gate: of init identity, else None.
        m_c: of sigmoid(M_c) over the channels.
        m_s: of sigmoid(M_s) over the positions.
        m: of M over both.
        peak_cell: row and column where M_s is greatest; None where it is the same everywhere.
        peak: the middle of that cell as x, y in the upright photograph.
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
class Shown:
    """The numbers of one photograph.

    Attributes:
        photograph: which.
        numbers: network by network, each site in the order of the network.
    """

    photograph: Photograph
    numbers: tuple[Numbers, ...]


def frame_all(
    paths: Sequence[Path],
    asked: Sequence[Asked],
    value_range: ValueRange | None = None,
    *,
    whole: bool,
) -> list[Photograph]:
    """Read photographs and bring each to the size that each network wants.

    Args:
        paths: their files.
        asked: the networks.
        value_range: values that become black and white in files of more than 8 bits.
        whole: see :func:`bamsearch.attention.photographs.frame`.

    Raises:
        InvalidValueError: one cannot be read, a network takes no photographs, or a value range for
            files of 8 bits.
        DataError: a file of more than 8 bits whose value range is not sure.
    """
    levels = Levels(value_range)
    photographs = []
    for path in paths:
        picture = read_photograph(path, value_range, levels)
        framed = tuple(frame(picture, one.design.input_shape, whole=whole) for one in asked)
        photographs.append(Photograph(path, picture.size, framed))
    levels.check()
    if value_range is not None and not levels.uses_range:
        raise InvalidValueError(
            f"--value-range {value_range_text(value_range)} is for files of more than 8 bits, and "
            "none of these is one: leave it out"
        )
    return photographs


def show(networks: Sequence[Network], photograph: Photograph) -> tuple[Shown, list[Column]]:
    """What each network says of a photograph, as numbers and for a sheet.

    Raises:
        ModelError: a network does not take a photograph of this size.
        WeightsError: its maps are not finite.
    """
    numbers: list[Numbers] = []
    columns = []
    for network, framed in zip(networks, photograph.framed, strict=True):
        images = as_input(framed.picture, network.asked.mean, network.asked.std)
        maps = _maps_by_site(network, images)
        for site, found in maps.items():
            if not found.m.isfinite().all():
                raise WeightsError(
                    f"{network.label} computes maps at {site} that are not finite: "
                    f"look at its weights, {network.weights}"
                )
            numbers.append(_numbers(network.label, site, found, framed))
        heats = {site: _heat(found) for site, found in maps.items()}
        columns.append(Column(network.label, network.about, network.warning, framed.picture, heats))
    return Shown(photograph, tuple(numbers)), columns


def write_sheet(
    path: Path, photograph: Photograph, columns: Sequence[Column], sites: Sequence[str]
) -> None:
    """Draw a sheet and write it whole or not at all.

    Args:
        path: of the sheet; missing folders are made.
        photograph: what it is about.
        columns: one a network.
        sites: the order of the rows.

    Raises:
        OutputError: it cannot be written.
    """
    title = f"{photograph.path.name} · {shape_text(photograph.size)}"
    found = [site for column in columns for site in column.heats]
    # not every site need have been reached, and one that is reached twice has two rows
    rows = [site for site in dict.fromkeys([*sites, *found]) if site in found]
    content = contact_sheet(title, columns, rows)
    draft = path.with_name(f".writing-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error}") from error


def _maps_by_site(network: Network, images: Tensor) -> dict[str, AttentionMap]:
    sites = {i.site.replace(".", "_"): i.site for i in network.asked.design.insertions}
    try:
        # torch.fx prints the code around an error to stderr; the error itself says enough
        with redirect_stderr(io.StringIO()):
            found = attention_maps(network.module, images)
    except ModelError as error:
        design = network.asked.design
        if tuple(images.shape[1:]) == design.input_shape:
            raise
        raise ModelError(f"{error}; leave out --full, or name another design") from error
    maps = {}
    for one in found:
        site = sites[one.path.rpartition(".")[2]]
        maps[site if one.call == 1 else f"{site} (call {one.call})"] = one
    return maps


def _numbers(label: str, site: str, found: AttentionMap, framed: Framed) -> Numbers:
    m_s = found.m_s[0].sigmoid()
    height, width = m_s.shape
    cell = divmod(int(m_s.argmax()), width)
    even = bool(m_s.min() == m_s.max())
    return Numbers(
        network=label,
        site=site,
        map_shape=tuple(found.m.shape[1:]),
        reduction=found.reduction,
        dilation=found.dilation,
        gate=found.gate,
        m_c=_spread(found.m_c.sigmoid()),
        m_s=_spread(m_s),
        m=_spread(found.m),
        peak_cell=None if even else cell,
        peak=None if even else framed.place(*cell, height, width),
    )


def _spread(values: Tensor) -> Spread:
    return Spread(values.min().item(), values.double().mean().item(), values.max().item())


def _heat(found: AttentionMap) -> Heat:
    gate = "" if found.gate is None else f" · gate {found.gate:.3g}"
    return Heat(
        shape_text(found.m.shape[1:]),
        f"r{found.reduction} d{found.dilation}{gate}",
        found.m_c[0].sigmoid().numpy(),
        found.m_s[0].sigmoid().numpy(),
        found.m[0].mean(0).numpy(),
    )
