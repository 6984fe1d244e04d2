import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)["project"]
IMPORTS = packages_distributions()
"""Name that is imported → distributions that provide it."""


def requirements() -> list[tuple[str, str]]:
    """Requirement and the comment after it, of all but the developers' tools."""
    body = TEXT[TEXT.index("dependencies = [") : TEXT.index("\ndev = [")]
    return re.findall(r'^    "([\w.-]+)[^"]*",[ ]*#?[ ]*(.*)$', body, re.MULTILINE)


def test_every_dependency_is_looked_at():
    extras = PROJECT["optional-dependencies"]
    listed = PROJECT["dependencies"] + [
        line for name, lines in extras.items() if name != "dev" for line in lines
    ]
    assert len(requirements()) == len(listed)


@pytest.mark.parametrize(("package", "comment"), requirements())
def test_a_dependency_names_the_file_that_needs_it(package, comment):
    assert comment, f"{package}: which file needs it?"
    if "coming room" not in comment:
        for path in re.findall(r"bamsearch/[\w/.]+\.py", comment):
            source = (ROOT / path).read_text(encoding="utf-8")
            names = [name for name, owners in IMPORTS.items() if package in owners] or [package]
            assert any(re.search(rf"\b{name}\b", source) for name in names), path


def test_the_pins_are_plain_and_cover_what_is_direct():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
    names = [pin.partition("==")[0] for pin in pins]
    assert names == sorted(names)
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [
        line for name in ("timm", "export", "cluster", "dev") for line in extras[name]
    ]
    direct = {re.match(r"[\w-]+", line)[0] for line in wanted}
    assert direct - {"bamsearch"} <= set(names)
