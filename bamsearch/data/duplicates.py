"""Find exact duplicates among image files: equal pixels under any name or format."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bamsearch.attention.levels import Levels
from bamsearch.attention.photographs import is_wide, read_photograph
from bamsearch.data.sources import Source, SourceSubset, spoilt_error
from bamsearch.data.ticker import Ticker
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import ValueRange

_log = logging.getLogger(__name__)


def pixel_digests(
    source: Source, levels: Levels, value_range: ValueRange | None = None
) -> list[bytes]:
    """A digest of each image's pixels as used in training: upright, RGB, in native size.

    Args:
        source: the images.
        levels: collects images of more than 8 bits, which are decoded here anyway.
        value_range: see :func:`bamsearch.attention.photographs.read_photograph`.

    Raises:
        DataError: number and names of unreadable files; see also ``Levels.add``.
    """
    digests, unreadable = [], []
    tick = Ticker(_log, f"reading {source.root}", "images", len(source))
    for number, path in enumerate(source.files):
        tick(number)
        try:
            digests.append(_pixel_digest(path, levels, value_range))
        except InvalidValueError:
            unreadable.append(path)
    if unreadable:
        raise spoilt_error(unreadable, len(source))
    return digests


def count_levels(source: Source, levels: Levels) -> None:
    """Add images of more than 8 bits to levels; only the headers of the others are read."""
    for path in filter(is_wide, source.files):
        read_photograph(path, levels=levels)


def first_copies(digests: Sequence[bytes]) -> Tensor:
    """Index of the first image with the same digest, for each image, (N,) int64."""
    first: dict[bytes, int] = {}
    return torch.tensor([first.setdefault(digest, row) for row, digest in enumerate(digests)])


def refuse_leaks(
    parts: Mapping[str, SourceSubset], digests: Mapping[Source, Sequence[bytes]]
) -> None:
    """Raise DataError if an image of one split is a copy of an image of another.

    Args:
        parts: the splits by name.
        digests: :func:`pixel_digests` by source.
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
        fix = "delete the copies in one of the splits"
        if source is other:
            fix = "start a new run, which keeps copies in one split"
        raise DataError(
            f"{other.files[copy]} and {source.files[row]} are in two splits but have the same "
            f"pixels (copies in total: {len(leaks):,}): {fix}"
        )


def _pixel_digest(path: Path, levels: Levels, value_range: ValueRange | None) -> bytes:
    picture = read_photograph(path, value_range, levels)
    head = f"{picture.size} {picture.mode} ".encode()
    return hashlib.blake2b(head + picture.tobytes(), digest_size=16).digest()
