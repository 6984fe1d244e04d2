"""``bamsearch env``: versions and devices of this machine, for bug reports."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.profiling.cache import cache_folder
from bamsearch.profiling.devices import Device, list_devices

DEVELOPMENT_EXTRAS = ("dev", "bench")
NOT_INSTALLED = "not installed"


@options.command("env", examples=["bamsearch env", "bamsearch env --json > env.json"])
@options.json
@options.pass_console
def env(console: Console, as_json: bool) -> None:
    """Show versions, devices, extras and the cache folder, for bug reports."""
    with console.progress("loading torch"):
        content = describe()
    if as_json:
        console.print_json(content)
    else:
        console.table(["", ""], _lines(content), "ll", indent=0)
    console.finish({"try": "bamsearch insert resnet101"})


def describe() -> dict[str, Any]:
    """The output of ``env --json``."""
    versions = {
        extra: {package: _version(package) for package in packages}
        for extra, packages in sorted(read_requirements().items())
    }
    threads, devices, trouble = _torch_facts()
    cache = cache_folder()
    return {
        "bamsearch": bamsearch.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "packages": versions.pop(""),
        "system": platform.platform(),
        "cpu": {"cores": os.cpu_count(), "torch_threads": threads},
        "devices": {device.name: device.description for device in devices},
        "torch_trouble": trouble,
        "extras": versions,
        "cache": {"path": str(cache), "bytes": folder_bytes(cache)},
    }


def read_requirements() -> dict[str, list[str]]:
    """Packages that bamsearch requires, by extra ("" without one), without development tools."""
    packages: dict[str, list[str]] = {"": []}
    for line in metadata.requires("bamsearch") or []:
        package = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        if package is not None:
            packages.setdefault(extra[1] if extra else "", []).append(package[0])
    return {extra: names for extra, names in packages.items() if extra not in DEVELOPMENT_EXTRAS}


def folder_bytes(folder: Path) -> int:
    """Total size of the files below folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def bytes_text(size: float) -> str:
    """Format a size in bytes: ``17.2 KiB``."""
    if size < 1024:
        return f"{size:.0f} B"
    power = 3 if size >= 1024**3 else 2 if size >= 1024**2 else 1
    return f"{size / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def _torch_facts() -> tuple[int | None, list[Device], str | None]:
    """Threads, devices and, if torch cannot be imported, the error, for the bug report."""
    try:
        import torch

        return torch.get_num_threads(), list_devices(), None
    except Exception as error:
        return None, [], f"{type(error).__name__}: {error}"


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _lines(content: dict[str, Any]) -> list[list[str]]:
    """Rows of name and value."""
    packages = content["packages"]
    rows = [["bamsearch", content["bamsearch"]], ["python", content["python"]]]
    rows += [[name, version or NOT_INSTALLED] for name, version in packages.items()]
    rows.append(["system", content["system"]])
    cpu = content["cpu"]
    rows.append(["cpu", f"{cpu['cores']} cores; {cpu['torch_threads']} threads used by torch"])
    if content["torch_trouble"]:
        rows.append(["torch does not load", content["torch_trouble"]])
    rows += [[f"device {name}", about] for name, about in content["devices"].items()]
    rows += [[f"extra {name}", _extra_text(name, has)] for name, has in content["extras"].items()]
    cache = content["cache"]
    rows.append(["cache", f"{cache['path']} ({bytes_text(cache['bytes'])})"])
    return rows


def _extra_text(extra: str, packages: dict[str, str | None]) -> str:
    """Versions of the packages of an extra, or the command that installs it."""
    if None in packages.values():
        return f"{NOT_INSTALLED}: pip install 'bamsearch[{extra}]'"
    return ", ".join(f"{package} {version}" for package, version in packages.items())
