import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bamsearch

ROOT = Path(__file__).parents[2]
INFO = f"bamsearch-{bamsearch.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_it_holds_code_types_and_search_spaces(wheel):
    names = set(wheel.namelist())
    spaces = {f"bamsearch/search_spaces/{path.name}" for path in (ROOT / "search_spaces").iterdir()}
    assert spaces
    assert (
        names >= {"bamsearch/__init__.py", "bamsearch/py.typed", "bamsearch/cli/main.py"} | spaces
    )


def test_it_holds_nothing_else(wheel):
    assert {name.split("/")[0] for name in wheel.namelist()} == {
        "bamsearch",
        INFO,
    }


def test_it_has_the_command_and_the_licence(wheel):
    assert b"bamsearch = bamsearch.cli.main:main" in wheel.read(f"{INFO}/entry_points.txt")
    assert b"MIT License" in wheel.read(f"{INFO}/licenses/LICENSE")
