"""Print pip constraints with the lowest versions that pyproject.toml allows users."""

import re
import tomllib
from pathlib import Path

USERS = ("timm", "train", "cluster", "export")


def lowest() -> dict[str, str]:
    """The lowest version of each package, by its name in pyproject.toml."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    floors = {}
    for requirement in [*project["dependencies"], *(r for name in USERS for r in extras[name])]:
        name, version = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", requirement).groups()
        floors[name] = version
    return floors


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
