import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = {
    "help",
    "demo",
    "test",
    "test-zoo",
    "test-lowest",
    "check",
    "format",
    "golden",
    "docs",
    "gallery",
    "zoo-report",
    "clean",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*args: str, folder: Path = ROOT) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *args]
    done = subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_make_alone_lists_the_targets():
    assert set(re.findall(r"^  make ([\w-]+)", make(), re.MULTILINE)) == TARGETS


def test_every_target_is_phony():
    assert set(re.search(r"^\.PHONY: (.*)$", TEXT, re.MULTILINE)[1].split()) == TARGETS


@pytest.fixture
def checkout(tmp_path):
    """A folder with what the environment depends on, its environment up to date."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


@pytest.mark.parametrize("target", ["demo", "test", "test-zoo", "check"])
def test_a_second_run_does_not_install(checkout, target):
    assert "pip install" not in make("-n", target, folder=checkout)


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_other_requirements_install(checkout, name):
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / name, (later, later))
    assert "pip install" in make("-n", "test", folder=checkout)


def test_an_interrupted_environment_is_installed_again(checkout):
    (checkout / ".venv" / ".installed").unlink()
    assert "pip install" in make("-n", "test", folder=checkout)
