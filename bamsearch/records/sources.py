"""The code behind a MODEL or a score: located, hashed and named without importing it."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torchvision", "timm", "bamsearch")


def split_model(model: str) -> tuple[str, str]:
    """Split a MODEL into its source and its name in that source.

    Returns:
        ``("torchvision", name)``, ``("timm", name)`` or ``(module or file, factory)``.
    """
    if model.startswith("timm:"):
        return "timm", model.removeprefix("timm:")
    source, colon, name = model.rpartition(":")
    # A drive letter, as in C:\net.py, is not a source.
    if not colon or (len(source) == 1 and name.startswith(("\\", "/"))):
        return "torchvision", model
    return source, name


def name_of(thing: object) -> str:
    """``module:name`` of a function, a class, or else of a value's class."""
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{getattr(thing, '__module__', '?')}:{name}"


def user_code(name: str) -> str | None:
    """The file, otherwise the module, that a MODEL or a score executes.

    Returns:
        None for models and scores of torchvision, timm and bamsearch.
    """
    source, _ = split_model(name)
    if source.partition(".")[0] in _PACKAGES and not source.endswith(".py"):
        return None
    file = _file(source)
    return source if file is None else str(file)


def source_of(name: str) -> str | None:
    """An identifier that changes with the code of a MODEL or a score.

    Returns:
        Hash of the file's content, otherwise package and version; None if neither is known.
    """
    source, _ = split_model(name)
    package = source.partition(".")[0]
    file = None if user_code(name) is None else _file(source)
    if file is not None:
        return file_hash(file)
    try:
        return f"{package} {version(package)}"
    except (PackageNotFoundError, ValueError):
        return None


def file_hash(path: str | os.PathLike[str]) -> str | None:
    """Hash of a file's content; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return f"sha256 {digest.hexdigest()[:16]}"


def _file(source: str) -> Path | None:
    """The file of a source: the source itself, or a module below the current folder."""
    if source.endswith(".py"):
        return Path(source)
    path = Path(*source.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)
