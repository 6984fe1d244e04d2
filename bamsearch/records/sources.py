"""Which code a MODEL or a score is: split, hashed and named without importing it."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torchvision", "timm", "bamsearch")


def split_model(model: str) -> tuple[str, str]:
    """Split a MODEL into where it comes from and its name there.

    Returns:
        ``("torchvision", name)``, ``("timm", name)`` or ``(module or file, factory)``.
    """
    if model.startswith("timm:"):
        return "timm", model.removeprefix("timm:")
    source, colon, name = model.rpartition(":")
    # The letter of a drive, as in C:\net.py, is not a source.
    if not colon or (len(source) == 1 and name.startswith(("\\", "/"))):
        return "torchvision", model
    return source, name


def user_code(name: str) -> str | None:
    """The file, or else the module, that a MODEL or a score executes.

    Returns:
        None for what torchvision, timm and bamsearch bring.
    """
    source, _ = split_model(name)
    if source.partition(".")[0] in _PACKAGES and not source.endswith(".py"):
        return None
    file = _file(source)
    return source if file is None else str(file)


def source_of(name: str) -> str | None:
    """What changes when the code of a MODEL or a score does.

    Returns:
        A hash of the file's content, else the package and its version; None if neither is known.
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
    """Hash of a file's content; None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return f"sha256 {digest.hexdigest()[:16]}"


def _file(source: str) -> Path | None:
    """The file of a source: itself, or that of a module below the current folder."""
    if source.endswith(".py"):
        return Path(source)
    path = Path(*source.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)
