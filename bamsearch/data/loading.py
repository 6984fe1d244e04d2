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

from bamsearch.attention.levels import Levels
from bamsearch.data.drawing import stratified
from bamsearch.data.duplicates import (
    count_levels,
    first_copies,
    pixel_digests,
    refuse_leaks,
)
from bamsearch.data.folders import KIND, open_folder
from bamsearch.data.images import Fit
from bamsearch.data.kinds import find_kind
from bamsearch.data.sources import Opened, Part, Source, Unopened, check_classes, check_enough
from bamsearch.data.splits import Data, Split
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import (
    DataFacts,
    ValueRange,
    check_positive,
    check_value_range,
    value_range_text,
)

DEFAULT_SIZE = (224, 224)
"""H and W where the images of a set differ and no size is given."""

CONTENTS = "c:"
"""Start of a hash over the contents of files, see :attr:`bamsearch.records.DataFacts.hash`."""


def load_data(  # noqa: PLR0913
    name: str,
    *,
    input_size: tuple[int, int] | None = None,
    download: bool = False,
    split_seed: int = 0,
    channels: int = 3,
    default_size: tuple[int, int] = DEFAULT_SIZE,
    contents: bool = True,
    recorded: str | None = None,
    value_range: ValueRange | None = None,
) -> Data:
    """Find a data set and split it; nothing of a published test split is read.

    A published test split is the test split, a published validation split the validation split.
    What is not published is taken from the training images: one in ten of each class, at least
    one, drawn with the seed. Images of a user's folder are compared by their pixels: copies are
    drawn into one split, and copies in two splits of the user's are refused.

    Args:
        name: ``digits``, ``imagefolder:DIR``, or ``KIND:DIR`` with a KIND of
            :data:`bamsearch.data.kinds.KINDS` or the name of its class in torchvision.
        input_size: H and W that images are brought to; None is their own, or default_size where
            they differ: the short side is scaled, and the middle taken.
        download: fetch what is not there.
        split_seed: decides which images a split takes, in 0..2**32 - 1.
        channels: 3, grey images being repeated, or 1, colour being made grey.
        default_size: H and W where images differ in size and no input_size is given.
        contents: False lists a user's images without reading them, for classes and sizes only: the
            hash is that of old records, over names and sizes, and copies are not looked for.
        recorded: hash in a record that the data belong to. Where it is theirs, splits and hash are
            those of the record, also of one from before hashes were over contents.
        value_range: (lo, hi), values that become black and white in a user's images of more than
            8 bits; part of the hash. None: the range of their type, if the whole set fills it.

    Raises:
        DataError: no such data, not there, incomplete, with a class that is empty, images that
            cannot be read or whose value range is not sure, or copies of an image in two splits.
        InvalidValueError: sizes, channels, a seed or a value range out of range, or a value range
            for images of 8 bits.
    """
    _check_numbers(input_size, split_seed, channels)
    value_range = None if value_range is None else check_value_range(value_range)
    opened = _open(name, download)
    check_classes(opened)
    unopened = opened.test if isinstance(opened.test, Unopened) else None
    height, width = input_size or opened.size or default_size
    fit = Fit((channels, height, width))
    if contents and opened.kind == KIND:
        parts, digest = _read_parts(opened, split_seed, recorded, value_range)
        fit = Fit(fit.shape, value_range or "type")
    else:
        if value_range is not None:
            raise _no_use(name, value_range)
        parts = _parts(opened, split_seed)
        digest = _hash(opened, parts, split_seed)
    facts = DataFacts(
        name=name,
        input_shape=fit.shape,
        classes=len(opened.classes),
        train=len(parts["train"][1]),
        validation=len(parts["validation"][1]),
        test=len(parts["test"][1]) if unopened is None else unopened.images,
        hash=digest,
        split_seed=split_seed,
        value_range=value_range,
    )
    return Data(
        facts,
        opened.classes,
        opened.size,
        Split(*parts["train"], fit),
        Split(*parts["validation"], fit),
        partial(_test_split, parts, unopened, fit),
    )


def _check_numbers(input_size: tuple[int, int] | None, split_seed: int, channels: int) -> None:
    if channels not in (1, 3):
        raise InvalidValueError(f"images have 1 or 3 channels here, not {channels}")
    if not 0 <= split_seed < 2**32:
        raise InvalidValueError(f"split_seed must be in 0..{2**32 - 1}, not {split_seed}")
    for size in input_size or ():
        check_positive("each size in input_size", size)


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
    if kind == KIND:
        if download:
            raise DataError(f"{name} is a folder of yours: leave --download out")
        return open_folder(place)
    from bamsearch.data.torchvision_sets import open_published

    return open_published(kind, place, download=download)


def same_data(now: DataFacts, recorded: DataFacts) -> bool:
    """Whether data are those of a record, also where its hash is over names and sizes of files.

    Such old splits with copies of an image in two of them are not the splits of today.
    """
    if recorded.hash.startswith(CONTENTS) or not now.hash.startswith(CONTENTS):
        return now.hash == recorded.hash
    if now.value_range is not None:  # which such a record does not have
        return False
    load = partial(load_data, now.name, split_seed=recorded.split_seed)
    if load(contents=False).facts.hash != recorded.hash:
        return False
    try:
        return load(recorded=recorded.hash).facts.hash == recorded.hash
    except DataError:
        return False


def _no_use(name: str, value_range: ValueRange) -> InvalidValueError:
    return InvalidValueError(
        f"--value-range {value_range_text(value_range)} is for images of more than 8 bits, and "
        f"{name} has none: leave it out"
    )


def _read_parts(
    opened: Opened, seed: int, recorded: str | None, value_range: ValueRange | None
) -> tuple[dict[str, Part], str]:
    """Splits of a user's images without copies across them, and the hash."""
    digest_of = partial(_hash, opened, seed=seed, value_range=value_range)
    sources = [e for e in (opened.train, opened.validation, opened.test) if isinstance(e, Source)]
    levels = Levels(value_range)
    parts = _parts(opened, seed)
    if (recorded or "").startswith(CONTENTS):
        # Copies were looked for when that was recorded: where the hash is the same, none moved.
        digest = digest_of(parts, contents=True)
        if digest == recorded:
            if value_range is None:  # which older records took for granted
                for source in sources:
                    count_levels(source, levels)
                levels.check()
            return parts, digest
    digests = {source: pixel_digests(source, levels, value_range) for source in sources}
    levels.check()
    if value_range is not None and not levels.uses_range:
        raise _no_use(f"{KIND}:{opened.train.root}", value_range)
    old = recorded is not None and digest_of(parts) == recorded
    if not old:
        parts = _parts(opened, seed, first_copies(digests[opened.train]))
    refuse_leaks(parts, digests)
    return parts, digest_of(parts, contents=not old)


def _parts(opened: Opened, seed: int, first: Tensor | None = None) -> dict[str, Part]:
    """Source and indices of each split; a published test split has none yet."""
    given = {"validation": opened.validation, "test": opened.test}
    taken = [split for split, source in given.items() if source is None]
    if first is not None and taken:
        distinct = first == torch.arange(len(first))
        check_enough(opened, opened.train.labels[distinct], "different images")
    drawn = stratified(opened.train.labels, len(taken), seed, first)
    parts = {
        split: (opened.train, rows) for split, rows in zip(["train", *taken], drawn, strict=True)
    }
    for split, source in given.items():
        if isinstance(source, Source):
            parts[split] = (source, torch.arange(len(source)))
    return parts


def _test_split(parts: Mapping[str, Part], unopened: Unopened | None, fit: Fit) -> Split:
    if unopened is None:
        return Split(*parts["test"], fit)
    source = unopened.open()
    return Split(source, torch.arange(len(source)), fit)


def _hash(
    opened: Opened,
    parts: Mapping[str, Part],
    seed: int,
    *,
    contents: bool = False,
    value_range: ValueRange | None = None,
) -> str:
    """See :attr:`bamsearch.records.DataFacts.hash`; contents: of files, else names and sizes."""
    found = hashlib.sha256()
    published = opened.test.images if isinstance(opened.test, Unopened) else None
    head: list[object] = [opened.kind, opened.classes, seed, published]
    head += [] if value_range is None else [value_range]
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
            describe = _content if contents else _size
            files = [source.files[row] for row in rows.tolist()]
            names = [file.relative_to(source.root).as_posix() for file in files]
            lines = [f"{name} {describe(file)}" for name, file in zip(names, files, strict=True)]
            # A name need not be UTF-8.
            found.update("\n".join(lines).encode(errors="surrogatepass"))
    return (CONTENTS if contents else "") + found.hexdigest()[:16]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"{file} is not there: fetch the data again") from error


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}): repair it or remove it"
        ) from error
