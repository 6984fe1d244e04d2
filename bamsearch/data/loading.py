"""Data by name: ``digits``, ``imagefolder:DIR``, or ``KIND:DIR`` for a set of torchvision.

Nothing is fetched unless that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bamsearch.data.drawing import stratified
from bamsearch.data.folders import open_folder
from bamsearch.data.images import Fit
from bamsearch.data.kinds import find_kind
from bamsearch.data.sources import Opened, Source, Unopened, check_classes
from bamsearch.data.splits import Data, Split
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts, check_positive

DEFAULT_SIZE = (224, 224)
"""H and W where the images of a set differ and no size is given."""

Part = tuple[Source, Tensor]
"""A source, and the indices of a split in it."""


def load_data(
    name: str,
    *,
    input_size: tuple[int, int] | None = None,
    download: bool = False,
    split_seed: int = 0,
    channels: int = 3,
) -> Data:
    """Find a data set and split it; images of files, and of a published test split, are not read.

    A published test split is the test split, a published validation split the validation split.
    What is not published is taken from the training images: one in ten of each class, at least
    one, drawn with the seed.

    Args:
        name: ``digits``, ``imagefolder:DIR``, or ``KIND:DIR`` with a KIND of
            :data:`bamsearch.data.kinds.KINDS` or the name of its class in torchvision.
        input_size: H and W that images are brought to; None is their own, or 224x224 where they
            differ: the short side is scaled, and the middle taken.
        download: fetch what is not there.
        split_seed: decides which images a split takes, in 0..2**32 - 1.
        channels: 3, grey images being repeated, or 1, colour being made grey.

    Raises:
        DataError: no such data, not there, incomplete, or with a class that is empty.
        InvalidValueError: sizes, channels or a seed out of range.
    """
    if channels not in (1, 3):
        raise InvalidValueError(f"images have 1 or 3 channels here, not {channels}")
    if not 0 <= split_seed < 2**32:
        raise InvalidValueError(f"split_seed must be in 0..{2**32 - 1}, not {split_seed}")
    if input_size is not None:
        for size in input_size:
            check_positive("each size in input_size", size)
    opened = _open(name, download)
    check_classes(opened)
    parts, unopened = _parts(opened, split_seed)
    height, width = input_size or opened.size or DEFAULT_SIZE
    fit = Fit((channels, height, width))
    facts = DataFacts(
        name=name,
        input_shape=fit.shape,
        classes=len(opened.classes),
        train=len(parts["train"][1]),
        validation=len(parts["validation"][1]),
        test=len(parts["test"][1]) if unopened is None else unopened.images,
        hash=_hash(opened, parts, unopened, split_seed),
        split_seed=split_seed,
    )
    return Data(
        facts,
        opened.classes,
        opened.size,
        Split(*parts["train"], fit),
        Split(*parts["validation"], fit),
        partial(_test_split, parts, unopened, fit),
    )


def _open(name: str, download: bool) -> Opened:
    typed, colon, folder = name.partition(":")
    if name and not colon and Path(name).is_dir():
        raise DataError(f"{name} is a folder: write imagefolder:{name}")
    kind = find_kind(typed)
    if kind == "digits":
        if colon:
            raise DataError(f"digits are inside scikit-learn: write digits, not {name}")
        # Its import takes a second, which other data need not wait for.
        from bamsearch.data.digits import open_digits

        return open_digits()
    if not folder:
        raise DataError(f"{typed} is in a folder: write {kind}:DIR")
    place = Path(folder).expanduser()
    if kind == "imagefolder":
        if download:
            raise DataError(f"{name} is a folder of yours: leave --download out")
        return open_folder(place)
    from bamsearch.data.torchvision_sets import open_published

    return open_published(kind, place, download=download)


def _parts(opened: Opened, seed: int) -> tuple[dict[str, Part], Unopened | None]:
    """Source and indices of each split; a published test split has none yet."""
    given = {"validation": opened.validation, "test": opened.test}
    taken = [split for split, source in given.items() if source is None]
    drawn = stratified(opened.train.labels, len(taken), seed)
    parts = {
        split: (opened.train, rows) for split, rows in zip(["train", *taken], drawn, strict=True)
    }
    for split, source in given.items():
        if isinstance(source, Source):
            parts[split] = (source, torch.arange(len(source)))
    return parts, opened.test if isinstance(opened.test, Unopened) else None


def _test_split(parts: Mapping[str, Part], unopened: Unopened | None, fit: Fit) -> Split:
    if unopened is None:
        return Split(*parts["test"], fit)
    source = unopened.open()
    return Split(source, torch.arange(len(source)), fit)


def _hash(opened: Opened, parts: Mapping[str, Part], unopened: Unopened | None, seed: int) -> str:
    """See :attr:`bamsearch.records.DataFacts.hash`."""
    found = hashlib.sha256()
    published = None if unopened is None else unopened.images
    head = [opened.kind, opened.classes, seed, published]
    found.update(json.dumps(head).encode())
    for split in ("train", "validation", "test"):
        if split not in parts:
            continue
        source, rows = parts[split]
        labels = source.labels[rows]
        found.update(f"\n{split} {len(rows)}\n".encode())
        found.update(labels.numpy().tobytes())
        if source.images is not None:
            images = source.images[rows]
            found.update(f"{tuple(images.shape)}".encode())
            found.update(images.numpy().tobytes())
        else:
            found.update("\n".join(_file_lines(source, rows)).encode())
    return found.hexdigest()[:16]


def _file_lines(source: Source, rows: Tensor) -> list[str]:
    """``relative/path size`` of files."""
    try:
        files = [source.files[row] for row in rows.tolist()]
        return [f"{f.relative_to(source.root).as_posix()} {f.stat().st_size}" for f in files]
    except OSError as error:
        raise DataError(f"{error.filename} is not there: fetch the data again") from error
