"""What all tests share: golden files, a command line to run, and a machine left as it was."""

import os
import signal

# a shell's background jobs ignore Ctrl-C, and the processes that tests interrupt would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# before torch is first imported: with one thread a training is the same each time, and faster too
os.environ["OMP_NUM_THREADS"] = "1"

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory):
    """Neither the user's cache nor the user's weights are read or written."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BAMSEARCH_CACHE", "TORCH_HOME"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(text, name)``: text equals the file golden/name beside the test."""

    def compare(text: str, name: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--regenerate"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path}: run 'make golden' and read what it wrote"
        assert text == path.read_text(encoding="utf-8"), "if this is meant: make golden"

    return compare


@pytest.fixture(scope="session")
def train() -> Callable[..., object]:
    """``train(network, data, recipe)``: trains a design, a module or an initial model."""
    from torch import nn

    from bamsearch.records import Design
    from bamsearch.training import engine
    from bamsearch.training.folder import TrainingFolder
    from bamsearch.training.initial_model import build_initial_model, module_as_given
    from bamsearch.training.trainer import Training

    def call(network, data, recipe, *, seed=0, device="auto", output=None, **options):
        if isinstance(network, Design):
            network = build_initial_model(network, data, seed=seed)
        elif isinstance(network, nn.Module):
            network = module_as_given(network, data)
        folder = TrainingFolder(output) if isinstance(output, Path) else output
        return engine.train(Training(network, data, recipe, seed, device), folder, **options)

    return call


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with ``python`` and ``bamsearch``, which start with torch loaded: preloaded.py."""
    folder = tmp_path_factory.mktemp("preloaded")
    server = [sys.executable, str(Path(__file__).with_name("preloaded.py"))]
    at = str(folder / "socket")
    template_command = shlex.join([server[0], "-IS", server[1], "run", at])
    for name, start in (("python", ""), ("bamsearch", " -m bamsearch")):
        (folder / name).write_text(f'#!/bin/sh\nexec {template_command}{start} "$@"\n')
        (folder / name).chmod(0o755)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*server, "serve", at], start_new_session=True, **pipes) as process:
        assert process.stdout.readline() == b"ready\n"
        yield folder
        process.stdin.close()


@pytest.fixture(scope="session")
def bamsearch_cli() -> Callable[..., Result]:
    """``bamsearch_cli("env", "--json")`` runs the command line in this process.

    The result has ``stdout``, ``stderr`` and ``exit_code``.
    """
    from bamsearch.cli.main import cli

    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, list(args), prog_name="bamsearch")

    return run


@pytest.fixture
def audit():
    """The record of an audit that never was: six designs, two seeds, worked out by hand."""
    from bamsearch.records import (
        Agreement,
        Audit,
        Audited,
        Budget,
        Ceiling,
        Cost,
        DataFacts,
        Effect,
        Insertion,
        ModelSummary,
        Site,
    )

    example_site = Site("layer1", 8, 8, 8, 4, "NCHW", "bottleneck", "layer2")
    two = Site("layer2", 16, 4, 4, 8, "NCHW", "head", "avgpool")
    summary = ModelSummary(
        "net", (3, 32, 32), "", (3, 32, 32), (example_site, two), Cost(1000, 100_000, 90_000)
    )
    sample = [
        ((), (80.0, 81.0), None),
        ((("layer1", 4, 1), ("layer2", 4, 1)), (84.0, 83.5), 9.5),
        ((("layer1", 8, 1),), (81.0, 82.0), 3.0),
        ((("layer2", 8, 2),), (82.0, None), 4.0),
        ((("layer2", 4, 2),), (83.0, 83.0), 6.0),
        ((("layer1", 4, 2),), (80.5, 81.0), 7.0),
    ]
    designs = []
    for insertions, reached, snip in sample:
        size = sum(100 * site[1] for site in insertions)
        designs.append(
            Audited(
                tuple(Insertion(*each) for each in insertions),
                1000 + size,
                100_000 + 10 * size,
                size >= 800,
                reached,
                {"snip": (snip,), "params": (1000.0 + size,)},
            )
        )
    agreements = []
    for setting, designs_there in (("band", 5), ("space", 9), ("size", 9)):
        for measure in ("tau", "rho"):
            how = (setting, measure, designs_there)
            size = Agreement("params", *how, 0.31, 0.05, 0.52)
            if setting == "size":
                size = Agreement("params", *how, reason="it is the size itself")
            more = (0.04, -0.1, 0.15) if setting != "size" else (None, None, None)
            agreements += [
                Agreement("snip", *how, 0.35, -0.004, 0.6, *more),
                size,
                Agreement("train", *how, 0.4, 0.1, 0.7),
                Agreement("another seed", *how, 0.45, 0.2, 0.6),
            ]
    return Audit(
        name="net-digits-001",
        summary=summary,
        variant="paper",
        init="paper",
        num_classes=10,
        space={"name": "stages", "sites": "stages", "reductions": [4, 8], "dilations": [1, 2]},
        with_stem=False,
        budgets=(Budget("gflops", "+20%", 120_000, 100_000),),
        data=DataFacts("digits", (3, 32, 32), 10, 1445, 176, 176, "0123456789abcdef", 0),
        recipe={"name": "short", "epochs": 5, "batch_size": 64, "lr": 0.1, "precision": "32"},
        number=6,
        seeds=(0, 1),
        scores=("snip", "params"),
        quantity="gflops",
        threshold=8000,
        feasible_designs=25,
        exact=True,
        designs=tuple(designs),
        command="bamsearch audit net --data digits --designs 6 --seeds 2",
        versions={"bamsearch": "0.1.0", "torch": "2.14.1"},
        created="2026-01-02T03:04:05+00:00",
        agreements=tuple(agreements),
        ceilings=(
            Ceiling("band", 5, 0.3, 0.28, 0.5, 0.76, 0.8636, 0.9293),
            Ceiling("space", 9, 0.3, 0.28, 0.0),
        ),
        effects=(Effect("site", ("layer2",), 0.39, 0.23, 0.55, 3),),
        default="params",
        verdict="Inside the budget snip is not told to order designs better than params.",
        remarks=("Accuracy is the mean over 2 seeds.",),
    )
