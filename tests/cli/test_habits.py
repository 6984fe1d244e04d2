"""The habits that every command has, over all of them."""

import functools
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from PIL import Image

from bamsearch.api.search import search
from bamsearch.cli import options
from bamsearch.cli.main import COMMANDS, cli
from bamsearch.graph.designs import build, save
from bamsearch.records import Design, Insertion

RUNS = {
    "insert": ["insert", "squeezenet1_1"],
    "sites": ["sites", "squeezenet1_1"],
    "models": ["models"],
    "profile": ["profile", "squeezenet1_1", "--no-time"],
    "export": ["export", "design", "--format", "pt2", "--dry-run"],
    "attention": ["attention", "design", "photo.png"],
    "search": ["search", "squeezenet1_1", "--score", "params", "--trials", "3", "--no-random"],
    "train": [
        "train",
        "nets.py:small",
        *("--data", "digits", "--epochs", "1", "--batch-size", "512"),
    ],
    "verify": ["verify", "digits", "--data", "digits", "--dry-run"],
    "audit": [
        "audit",
        "nets.py:small",
        *("--data", "digits", "--designs", "8", "--epochs", "1", "--dry-run"),
    ],
    "worker": ["worker", "there", "--storage", "sqlite:///runs/there/study.db"],
    "runs": ["runs"],
    "report": ["report", "there", "--dry-run"],
    "spaces": ["spaces"],
    "env": ["env"],
    "completion": ["completion", "bash"],
}
"""Command → a quick line that succeeds in ``folder``."""

SHARED = {
    "--json": options.json,
    "--device": options.device,
    "--seed": options.seed,
    "--batch-size": options.batch_size,
    "--dtype": options.dtype,
}

HEAVY = (
    "torch",
    "torchvision",
    "optuna",
    "pandas",
    "fvcore",
    "timm",
    "rich",
    "matplotlib",
    "PIL",
    "altair",
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Where all lines run: a folder with a design and its weights in ``design``."""
    design = Design("nets.py:small", (3, 16, 16), (Insertion("1", 4),))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("habits"))
        shutil.copy(Path(__file__).parents[1] / "training" / "nets.py", "nets.py")
        save(design, "design", build(design))
        Image.new("RGB", (64, 48), "red").save("photo.png")
        few = {"score": "params", "trials": 2, "compare_random": False}
        search("squeezenet1_1", output="runs/there", **few)
        small = {"input_size": (8, 8), "num_classes": 10}
        search("nets.py:small", output="runs/digits", **small, **few)
        yield


def load(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def shared_help(decorator) -> str:
    """The help that the decorator gives its option."""
    return decorator(lambda: None).__click_params__[0].help


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_common_options_and_examples(bamsearch_cli, name, flag):
    result = bamsearch_cli(name, flag)
    assert result.exit_code == 0
    for text in ("-q, --quiet", "-v, --verbose", "-h, --help", "Examples:", f"bamsearch {name}"):
        assert text in result.stdout
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 100


# The seed of verify is the first of many, and must not be one of the search.
OWN = {("verify", "--seed")}


@pytest.mark.parametrize("name", COMMANDS)
def test_options_that_commands_share_are_the_same_everywhere(name):
    for parameter in load(name).params:
        for flag in {flag for flag in parameter.opts if (name, flag) not in OWN} & set(SHARED):
            assert parameter.help == shared_help(SHARED[flag])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_writes_can_be_forced_and_tried(name):
    flags = {flag for parameter in load(name).params for flag in parameter.opts}
    if "--output" in flags:
        assert {"-o", "--force", "-n", "--dry-run"} <= flags


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_are_accepted(name):
    command = load(name)
    for line in (command.epilog or "").splitlines():
        words = shlex.split(line.partition(" > ")[0])
        if words[:2] == ["bamsearch", name]:
            command.make_context(name, words[2:], resilient_parsing=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_one_line(bamsearch_cli, name):
    result = bamsearch_cli(name, "--no-such-option")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("bamsearch: error: ")
    assert "--no-such-option" in result.stderr
    assert f"bamsearch {name} --help" in result.stderr


@pytest.fixture(scope="module")
def plain(bamsearch_cli):
    """``plain(name)`` is what the command's line gives; it is run once."""
    return functools.cache(lambda name: bamsearch_cli(*RUNS[name]))


@pytest.mark.parametrize("name", RUNS)
def test_data_on_stdout_and_the_next_command_on_stderr(plain, name):
    result = plain(name)
    assert result.exit_code == 0, result.stderr
    assert result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    assert not any(line != line.rstrip() for line in result.stdout.splitlines())
    assert "Next:\n" in result.stderr
    assert "Next:" not in result.stdout


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("first", [True, False])
def test_quiet_leaves_the_data_alone(bamsearch_cli, plain, name, first):
    line = RUNS[name]
    quiet = bamsearch_cli(*(["-q", *line] if first else [*line, "-q"]))
    assert quiet.exit_code == 0
    assert quiet.stderr == ""
    # Searches of other tests add runs to the list.
    loud = bamsearch_cli(*line) if name == "runs" else plain(name)
    assert quiet.stdout == loud.stdout


def test_asking_for_help_loads_nothing_heavy():
    lines = [["--help"], ["--version"], [], *([name, "-h"] for name in COMMANDS)]
    code = (
        "import contextlib, sys; from bamsearch.cli.main import main\n"
        f"for line in {lines!r}:\n"
        "    with contextlib.suppress(SystemExit): main(line)\n"
        f"    print('heavy', line, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    said = [line for line in result.stdout.splitlines() if line.startswith("heavy")]
    assert said == [f"heavy {line} []" for line in lines]
