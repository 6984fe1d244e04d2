"""Cache of facts about named models, keyed by everything that could change them.

An entry is a file named after the hash of its key; its first line is a checksum of the key and the
rest of the file. Corrupted entries are computed again. Models from user files are never cached,
because their imports are unknown.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import platformdirs

from bamsearch.errors import OutputError
from bamsearch.files import write_whole
from bamsearch.records import ModelSummary
from bamsearch.records.formats import read_bytes
from bamsearch.records.hints import Misfit

T = TypeVar("T")

SUMMARIES = "summaries"
_PACKAGES = ("torch", "torchvision", "timm", "fvcore")
# A summary depends only on the code in these folders.
_SOURCES = ("records", "attention", "graph", "profiling")


def cache_folder() -> Path:
    """The cache folder: ``$BAMSEARCH_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("BAMSEARCH_CACHE") or platformdirs.user_cache_dir("bamsearch"))


def model_key(model: str) -> dict[str, object] | None:
    """Everything that determines a MODEL; None if package versions do not determine it."""
    source, colon, _ = model.partition(":")
    if colon and source != "timm":
        return None
    return {
        "model": model,
        "python": sys.version_info[:2],
        "packages": {name: _version(name) for name in _PACKAGES},
        "source": _source_hash(),
    }


def summary_key(
    model: str, size: Sequence[int] | None, num_classes: int | None, weights: str | None = None
) -> dict[str, object] | None:
    """The key of a model's summary; None if package versions do not determine the model."""
    key = model_key(model)
    if key is None:
        return None
    options = {"size": list(size) if size else None, "num_classes": num_classes}
    return key | options | {"weights": weights}


def read_summary(key: dict[str, object] | None) -> ModelSummary | None:
    """The cached summary for key; None if it is missing or invalid."""
    summary = read(key, ModelSummary.from_json, SUMMARIES)
    return summary if key and summary and _agrees(summary, key) else None


def _agrees(summary: ModelSummary, key: dict[str, object]) -> bool:
    """Whether a summary has the model and size of its key, and its counts are consistent."""
    base, size = summary.base, key["size"]
    return (
        summary.model == key["model"]
        and (size is None or list(summary.input_shape[-2:]) == size)
        and base.by_module.get("", base.macs) == base.macs >= base.conv_linear_macs
        and all(macs <= base.macs for macs in base.by_module.values())
    )


def read(key: dict[str, object] | None, parse: Callable[[str], T], folder: str) -> T | None:
    """The cached entry for key; None if it is missing or invalid.

    Args:
        key: everything that could change the entry, in JSON types; None is never cached.
        parse: parses the text; raises InvalidValueError for invalid text.
        folder: the kind of entry, a folder inside :func:`cache_folder`.
    """
    if key is None:
        return None
    try:
        checksum, _, text = read_bytes(_path(key, folder)).decode().partition("\n")
        return parse(text) if checksum == _checksum(key, text) else None
    except (OSError, ValueError, Misfit):
        return None


def write(key: dict[str, object] | None, text: str, folder: str) -> None:
    """Cache text for key, to be read by :func:`read`; failures to write are ignored."""
    if key is None:
        return
    with suppress(OutputError):
        write_whole(_path(key, folder), f"{_checksum(key, text)}\n{text}".encode())


def _path(key: dict[str, object], folder: str = SUMMARIES) -> Path:
    return cache_folder() / folder / f"{_checksum(key)}.json"


def _checksum(key: dict[str, object], *text: str) -> str:
    content = "\n".join((json.dumps(key, sort_keys=True), *text))
    return hashlib.sha256(content.encode()).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _source_hash() -> str:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in _SOURCES:
        for path in sorted((root / name).rglob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
