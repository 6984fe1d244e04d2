"""A second run takes what it says from the cache, and loads none of the heavy libraries."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "fvcore", "networkx", "numpy", "optuna", "pandas", "scipy")


def heavy_after(*line: str, **environment: str) -> tuple[str, list[str]]:
    """What a process that runs the line prints, and which heavy libraries it has loaded."""
    code = (
        "import sys; from bamsearch.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('heavy', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *line],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, loaded = result.stdout.rpartition("heavy")
    return said, loaded.split()


@pytest.mark.parametrize(
    "line",
    [
        ["insert", "resnet18"],
        ["insert", "resnet18", "--json", "-r", "8", "--sites", "stages", "--at", "layer2:d=2"],
        ["sites", "resnet18"],
        ["sites", "resnet18", "--json"],
    ],
    ids=lambda line: " ".join(line[:3]),
)
def test_a_second_run_loads_nothing_heavy_and_says_the_same(bamsearch_cli, line):
    first = bamsearch_cli(*line)
    assert first.exit_code == 0, first.stderr
    assert heavy_after(*line) == (first.stdout, [])


def test_without_the_cache_it_would_be_seen(tmp_path):
    _, loaded = heavy_after("sites", "squeezenet1_1", BAMSEARCH_CACHE=str(tmp_path))
    assert {"torch", "torchvision", "fvcore"} <= set(loaded)


def test_completion_loads_nothing_heavy():
    environment = {
        "_BAMSEARCH_COMPLETE": "bash_complete",
        "COMP_WORDS": "bamsearch insert --sites ",
        "COMP_CWORD": "3",
    }
    said, loaded = heavy_after("", **environment)
    assert "plain,bottlenecks" in said.splitlines()
    assert loaded == []
    assert heavy_after("completion", "zsh")[1] == []
