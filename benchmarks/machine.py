"""The machine of a measurement, without host name or path."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from bamsearch.profiling.devices import cpu_name

HERE = Path(__file__).parent


def facts() -> dict[str, str]:
    """Processor, system and versions, by their labels in the report."""
    versions = [f"{name} {version(name)}" for name in ("bamsearch", "torch", "torchvision")]
    return {
        "processor": cpu_name(),
        "cores": str(os.cpu_count()),
        "threads": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(versions),
    }


def write(name: str, content: dict[str, object], text: str) -> None:
    """Write NAME.json and NAME.md next to this file, both with the facts of the machine."""
    machine = facts()
    listed = "".join(f"- {label}: {fact}\n" for label, fact in machine.items())
    (HERE / f"{name}.md").write_text(f"{text}\n## Machine\n\n{listed}", encoding="utf-8")
    record = json.dumps({"machine": machine} | content, indent=2)
    (HERE / f"{name}.json").write_text(record + "\n", encoding="utf-8")
    print(f"{text}\nWritten   {name}.md, {name}.json")
