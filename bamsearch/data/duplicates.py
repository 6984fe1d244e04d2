"""Exact duplicates among image files: the same pixels, whatever the name or the format."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bamsearch.attention.levels import Levels
from bamsearch.attention.photographs import is_wide, read_photograph
from bamsearch.data.sources import Part, Source, spoilt_error
from bamsearch.data.ticker import Ticker
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import ValueRange

_log = logging.getLogger(__name__)


def pixel_digests(
    source: Source, levels: Levels, value_range: ValueRange | None = None
) -> list[bytes]:
    """A digest of each image's pixels as they are trained on: upright, RGB, in native size.

    Args:
        source: the images.
        levels: counts in those of more than 8 bits, as they are decoded here anyway.
        value_range: see :func:`bamsearch.attention.photographs.read_photograph`.

    Raises:
        DataError: files that cannot be read: how many, and which; see also ``Levels.add``.
    """
    digests, spoilt = [], []
    tick = Ticker(_log, f"reading {source.root}", "images", len(source))
    for number, path in enumerate(source.files):
        tick(number)
        try:
            digests.append(_pixel_digest(path, levels, value_range))
        except InvalidValueError:
            spoilt.append(path)
    if spoilt:
        raise spoilt_error(spoilt, len(source))
    return digests


def count_levels(source: Source, levels: Levels) -> None:
    """Count in the images of more than 8 bits; of the others only the headers are read."""
    for path in filter(is_wide, source.files):
        read_photograph(path, levels=levels)


def first_copies(digests: Sequence[bytes]) -> Tensor:
    """For each image the index of the first one with its digest, (N,) int64."""
    first: dict[bytes, int] = {}
    return torch.tensor([first.setdefault(digest, row) for row, digest in enumerate(digests)])


def refuse_leaks(parts: Mapping[str, Part], digests: Mapping[Source, Sequence[bytes]]) -> None:
    """Raise DataError where an image of one split is a copy of an image of another.

    Args:
        parts: the splits, by name.
        digests: source → :func:`pixel_digests`.
    """
    seen: dict[bytes, tuple[Source, int]] = {}
    leaks = []
    for source, rows in parts.values():
        new = {}
        for row in rows.tolist():
            digest = digests[source][row]
            if digest in seen:
                leaks.append((*seen[digest], source, row))
            else:
                new[digest] = (source, row)
        seen |= new
    if leaks:
        source, row, other, copy = leaks[0]
        cure = "delete the copies in one of the splits"
        if source is other:
            cure = "start a new run, which keeps copies in one split"
        raise DataError(
            f"{other.files[copy]} and {source.files[row]} are in two splits and have the same "
            f"pixels (copies in all: {len(leaks):,}): {cure}"
        )


def _pixel_digest(path: Path, levels: Levels, value_range: ValueRange | None) -> bytes:
    picture = read_photograph(path, value_range, levels)
    head = f"{picture.size} {picture.mode} ".encode()
    return hashlib.blake2b(head + picture.tobytes(), digest_size=16).digest()
