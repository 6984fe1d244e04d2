"""Load data by name: ``digits``, ``imagefolder:DIR``, or ``KIND:DIR`` for torchvision's data sets.

Nothing is downloaded unless requested.
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
from bamsearch.data.datasets import Datasets, open_datasets
from bamsearch.data.duplicates import count_levels, first_copies, pixel_digests, refuse_leaks
from bamsearch.data.folders import KIND, open_folder
from bamsearch.data.images import Fit
from bamsearch.data.published import find_kind, open_digits, open_published
from bamsearch.data.sources import (
    DatasetSource,
    LazySplit,
    Source,
    SourceSubset,
    check_classes,
    check_enough,
)
from bamsearch.data.splits import Data, Split, stratified
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import (
    DataFacts,
    ValueRange,
    check_positive,
    check_value_range,
    value_range_text,
)

DEFAULT_SIZE = (224, 224)
"""Default (H, W) for images of different sizes."""

CONTENTS = "c:"
"""Prefix of hashes over the contents of files, see :attr:`bamsearch.records.DataFacts.hash`."""


def load_data(  # noqa: PLR0913
    name: str | Datasets,
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
    """Load a data set and split it, without reading a published test split.

    Published test and validation splits are used. Missing splits are drawn from the training
    images with the seed: one in ten of each class, at least one. Images in a user's folder are
    compared by their pixels: copies are drawn into the same split, and copies across existing
    splits are refused.

    Args:
        name: ``digits``, ``imagefolder:DIR``, or ``KIND:DIR`` with a KIND of
            :data:`bamsearch.data.published.KINDS` or the name of its class in torchvision; or a
            torchvision-style data set, or a pair of them for training and validation, see
            :func:`bamsearch.data.datasets.open_datasets`.
        input_size: (H, W) of the images after resizing the short side and cropping the centre;
            None is their native size, or default_size if sizes differ.
        download: download missing data.
        split_seed: random seed of the splits, in 0..2**32 - 1.
        channels: 3, with grey images repeated, or 1, with colour images converted to grey.
        default_size: (H, W) for images of different sizes without input_size.
        contents: False lists a user's images without reading them, for classes and sizes only: the
            hash is over names and sizes, as in old records, and copies are not detected.
        recorded: hash in a record of the data. If it matches, splits and hash are those of the
            record, even of an old record with a hash over names and sizes.
        value_range: (lo, hi), values that become black and white in a user's images of more than
            8 bits; part of the hash. None is the range of their type, if the whole set fills it.

    Raises:
        DataError: the data are unknown, missing or incomplete, a class is empty, an image is
            unreadable or has an unknown value range, or two splits have copies of an image.
        InvalidValueError: sizes, channels, seed or value range are out of range, or a value range
            is given for images of 8 bits.
    """
    _check_numbers(input_size, split_seed, channels)
    value_range = None if value_range is None else check_value_range(value_range)
    if isinstance(name, str):
        dataset = _open(name, download)
    else:
        dataset = open_datasets(name, input_size or default_size)
        name = dataset.kind
    check_classes(dataset)
    unopened = dataset.test if isinstance(dataset.test, LazySplit) else None
    height, width = input_size or dataset.size or default_size
    fit = Fit((channels, height, width))
    if contents and dataset.kind == KIND:
        parts, digest = _read_parts(dataset, split_seed, recorded, value_range)
        fit = Fit(fit.shape, value_range or "type")
    else:
        if value_range is not None:
            raise _no_use(name, value_range)
        parts = _parts(dataset, split_seed)
        digest = _hash(dataset, parts, split_seed)
    facts = DataFacts(
        name=name,
        input_shape=fit.shape,
        classes=len(dataset.classes),
        train=len(parts["train"][1]),
        validation=len(parts["validation"][1]),
        test=len(parts["test"][1]) if unopened is None else unopened.images,
        hash=digest,
        split_seed=split_seed,
        value_range=value_range,
    )
    return Data(
        facts,
        dataset.classes,
        dataset.size,
        Split(*parts["train"], fit),
        Split(*parts["validation"], fit),
        partial(_test_split, parts, unopened, fit),
    )


def _check_numbers(input_size: tuple[int, int] | None, split_seed: int, channels: int) -> None:
    if channels not in (1, 3):
        raise InvalidValueError(f"channels must be 1 or 3, not {channels}")
    if not 0 <= split_seed < 2**32:
        raise InvalidValueError(f"split_seed must be in 0..{2**32 - 1}, not {split_seed}")
    for size in input_size or ():
        check_positive("each size in input_size", size)


def _open(name: str, download: bool) -> DatasetSource:
    typed, colon, folder = name.partition(":")
    if name and not colon and Path(name).is_dir():
        raise DataError(f"{name} is a folder: use imagefolder:{name}")
    kind = find_kind(typed)
    if kind == "digits":
        if colon:
            raise DataError(f"digits are part of scikit-learn: use digits, not {name}")
        return open_digits()
    if not folder:
        raise DataError(f"{typed} needs a folder: use {kind}:DIR")
    path = Path(folder).expanduser()
    if kind == KIND:
        if download:
            raise DataError(f"{name} is a local folder: omit `download`")
        return open_folder(path)
    return open_published(kind, path, download=download)


def load_recorded(facts: DataFacts, origin: str) -> Data:
    """Load the data of a record, such as ``run x``, with its splits.

    Raises:
        DataError: the data are missing, or have changed since then.
    """
    data = load_data(
        facts.name,
        input_size=facts.input_shape[1:],
        split_seed=facts.split_seed,
        channels=facts.input_shape[0],
        recorded=facts.hash,
        value_range=facts.value_range,
    )
    if data.facts.hash != facts.hash:
        raise DataError(
            f"{facts.name} has changed since {origin} started (hash {data.facts.hash}, was "
            f"{facts.hash}): restore it, or start again"
        )
    return data


def same_data(now: DataFacts, recorded: DataFacts) -> bool:
    """Whether data equal those of a record, even if its hash is over names and sizes of files.

    Old splits with copies of an image in two splits differ from those drawn today.
    """
    if recorded.hash.startswith(CONTENTS) or not now.hash.startswith(CONTENTS):
        return now.hash == recorded.hash
    if now.value_range is not None:  # old records have no value range
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
        f"`value_range={value_range_text(value_range)}` requires images of more than 8 bits, but "
        f"{name} has only 8-bit images: omit it"
    )


def _read_parts(
    dataset: DatasetSource, seed: int, recorded: str | None, value_range: ValueRange | None
) -> tuple[dict[str, SourceSubset], str]:
    """Splits of a user's images without copies across splits, and the hash."""
    digest_of = partial(_hash, dataset, seed=seed, value_range=value_range)
    sources = [
        e for e in (dataset.train, dataset.validation, dataset.test) if isinstance(e, Source)
    ]
    levels = Levels(value_range)
    parts = _parts(dataset, seed)
    if (recorded or "").startswith(CONTENTS):
        # Copies were checked when the hash was recorded, and an equal hash means equal splits.
        digest = digest_of(parts, contents=True)
        if digest == recorded:
            if value_range is None:  # older records did not check this
                for source in sources:
                    count_levels(source, levels)
                levels.check()
            return parts, digest
    digests = {source: pixel_digests(source, levels, value_range) for source in sources}
    levels.check()
    if value_range is not None and not levels.uses_range:
        raise _no_use(f"{KIND}:{dataset.train.root}", value_range)
    old = recorded is not None and digest_of(parts) == recorded
    if not old:
        parts = _parts(dataset, seed, first_copies(digests[dataset.train]))
    refuse_leaks(parts, digests)
    return parts, digest_of(parts, contents=not old)


def _parts(
    dataset: DatasetSource, seed: int, first: Tensor | None = None
) -> dict[str, SourceSubset]:
    """Source and indices of each split, except for a published test split."""
    published = {"validation": dataset.validation, "test": dataset.test}
    missing = [split for split, source in published.items() if source is None]
    if first is not None and missing:
        distinct = first == torch.arange(len(first))
        check_enough(dataset, dataset.train.labels[distinct], "different images")
    drawn = stratified(dataset.train.labels, len(missing), seed, first)
    parts = {
        split: (dataset.train, rows) for split, rows in zip(["train", *missing], drawn, strict=True)
    }
    for split, source in published.items():
        if isinstance(source, Source):
            parts[split] = (source, torch.arange(len(source)))
    return parts


def _test_split(parts: Mapping[str, SourceSubset], unopened: LazySplit | None, fit: Fit) -> Split:
    if unopened is None:
        return Split(*parts["test"], fit)
    source = unopened.open()
    return Split(source, torch.arange(len(source)), fit)


def _hash(
    dataset: DatasetSource,
    parts: Mapping[str, SourceSubset],
    seed: int,
    *,
    contents: bool = False,
    value_range: ValueRange | None = None,
) -> str:
    """See :attr:`bamsearch.records.DataFacts.hash`; without contents, hash names and sizes."""
    digest = hashlib.sha256()
    published = dataset.test.images if isinstance(dataset.test, LazySplit) else None
    head: list[object] = [dataset.kind, dataset.classes, seed, published]
    head += [] if value_range is None else [value_range]
    digest.update(json.dumps(head).encode())
    for split in ("train", "validation", "test"):
        if split not in parts:
            continue
        source, rows = parts[split]
        labels = source.labels[rows]
        digest.update(f"\n{split} {len(rows)}\n".encode())
        digest.update(labels.numpy().tobytes())
        if source.images is not None:
            images = source.images[rows]
            digest.update(f"{tuple(images.shape)}".encode())
            digest.update(images.numpy().tobytes())
        else:
            describe = _content if contents else _size
            files = [source.files[row] for row in rows.tolist()]
            names = [file.relative_to(source.root).as_posix() for file in files]
            lines = [f"{name} {describe(file)}" for name, file in zip(names, files, strict=True)]
            # A name need not be UTF-8.
            digest.update("\n".join(lines).encode(errors="surrogatepass"))
    return (CONTENTS if contents else "") + digest.hexdigest()[:16]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"{file} is missing: download the data again") from error


def _content(file: Path) -> str:
    try:
        with file.open("rb") as dataset:
            return hashlib.file_digest(dataset, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}): repair it or remove it"
        ) from error
