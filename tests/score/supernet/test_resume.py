"""A supernet whose training was cut off ends with the weights of one that was not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bamsearch.data.loading import load_data
from bamsearch.errors import OutputError, TrainingError, WeightsError
from bamsearch.graph.models import build_model
from bamsearch.score.supernet.scoring import supernet_scorer
from bamsearch.score.supernet.train import train_supernet
from bamsearch.score.supernet.trained import load_supernet
from bamsearch.training.engine import GIVEN, train
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress
from bamsearch.training.start import Start

KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from bamsearch.data.loading import load_data
from bamsearch.records import Design
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.plan import SupernetPlan
from bamsearch.score.supernet.space import SlotSpace
from bamsearch.score.supernet.train import train_supernet
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.recipe import Recipe

torch.set_num_threads(1)
base = Design(sys.argv[1], (3, 8, 8), num_classes=10)
space = SlotSpace(base, {"1": ((2, 4), (1, 2)), "3": ((2, 8), (1, 2))})
placed = space.widest().insertions

def draw(numbers):
    return replace(base, insertions=placed[: int(numbers.integers(3))])

plan = SupernetPlan(space, draw, space.widest(), base, SupernetOptions(warmup=1, distil=0.5))
recipe = Recipe("quick", epochs=3, batch_size=256, lr=0.05, augment="crop")

def watch(progress):
    if (progress.epoch, progress.step) == (1, 3):
        os.kill(os.getpid(), signal.SIGKILL)

folder = TrainingFolder(Path(sys.argv[2]), minutes=0)
train_supernet(plan, load_data("digits"), recipe, seed=3, device="cpu", output=folder, watch=watch)
"""


@pytest.fixture
def plan(plan_of):
    """The plan of the process that is killed."""
    found = plan_of(warmup=1, distil=0.5)
    base, placed = found.space.base, found.largest.insertions

    def draw(numbers):
        return replace(base, insertions=placed[: int(numbers.integers(3))])

    return replace(found, draw=draw)


@pytest.fixture
def thrice(quick):
    return quick.changed(epochs=3)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_killed_between_two_steps(plan, digits, thrice, tmp_path, bytes_of):
    whole = train_supernet(plan, digits, thrice, seed=3, device="cpu", output=tmp_path / "whole")
    folder = tmp_path / "killed"
    line = [sys.executable, "-c", KILLED, plan.space.base.model, str(folder)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    at = TrainingFolder(folder).read_checkpoint()["progress"]
    assert (at.epoch, at.step) == (1, 2)
    with pytest.raises(TrainingError, match="whose training has not ended"):
        load_supernet(folder)
    resumed = train_supernet(plan, digits, thrice, seed=3, device="cpu", output=folder, resume=True)
    assert bytes_of(resumed.network.module) == bytes_of(whole.network.module)
    assert rows_of(folder) == rows_of(tmp_path / "whole")
    assert len(rows_of(folder)) == 3
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_interrupted_saves(plan, digits, thrice, tmp_path, bytes_of):
    whole = train_supernet(plan, digits, thrice, seed=3, device="cpu")
    folder = TrainingFolder(tmp_path, minutes=0)

    def watch(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (2, 4):
            os.kill(os.getpid(), signal.SIGINT)

    def go_on(watch=None):
        return train_supernet(
            plan, digits, thrice, seed=3, device="cpu", output=folder, resume=True, watch=watch
        )

    with pytest.raises(KeyboardInterrupt):
        go_on(watch)  # there was nothing to go on with: it starts
    at = folder.read_checkpoint()["progress"]
    assert (at.epoch, at.step) == (2, 4)
    assert bytes_of(go_on().network.module) == bytes_of(whole.network.module)


@pytest.fixture
def once(quick):
    return quick.changed(epochs=1)


@pytest.mark.parametrize("share", ["width", "dilation", "none"])
def test_a_finished_one_is_found_again(plan_of, digits, once, tmp_path, bytes_of, share):
    plan = plan_of(paths=1, share=share, recalibration=3)
    trained = train_supernet(plan, digits, once, seed=2, device="cpu", output=tmp_path)
    loaded = load_supernet(tmp_path)
    assert bytes_of(loaded.network.module) == bytes_of(trained.network.module)
    for name in ("options", "recipe", "seed", "mean", "std", "data_hash"):
        assert getattr(loaded, name) == getattr(trained, name), name
    assert loaded.network.space == plan.space
    scores = [supernet_scorer(one, digits, device="cpu")(plan.largest) for one in (trained, loaded)]
    assert scores[0] == scores[1]
    again = train_supernet(plan, digits, once, seed=2, device="cpu", output=tmp_path, resume=True)
    assert bytes_of(again.network.module) == bytes_of(trained.network.module)
    with pytest.raises(OutputError, match="is a training already"):
        train_supernet(plan, digits, once, seed=2, device="cpu", output=tmp_path)


def test_of_a_module_of_the_callers(plan_of, digits, once, tmp_path, bytes_of):
    plan = plan_of(paths=0)
    module = build_model(plan.space.base.model, (3, 8, 8), num_classes=10)
    before = bytes_of(module)
    start = Start(None, module, digits.mean, digits.std, GIVEN)
    trained = train_supernet(replace(plan, start=start), digits, once, output=tmp_path)
    assert bytes_of(module) == before
    loaded = load_supernet(tmp_path, base=module)
    assert bytes_of(loaded.network.module) == bytes_of(trained.network.module)


def test_another_is_refused_by_what_differs(plan_of, digits, once, tmp_path):
    plan = plan_of()
    train_supernet(plan, digits, once, device="cpu", output=tmp_path)
    space = plan.space
    other = load_data("digits", split_seed=1)
    fewer = replace(space, sites={"1": space.sites["1"]})
    for (asked, data, recipe, seed), says in (
        ((plan_of(paths=1), digits, once, 0), "has options paths 2, not 1"),
        ((plan_of(share="none"), digits, once, 0), "has options share width, not none"),
        ((replace(plan, space=fewer, largest=fewer.widest()), digits, once, 0), "sites 3 .*none"),
        (
            (replace(plan, largest=space.base), digits, once, 0),
            r"has largest .*1 r2 d1.*, not \[\]",
        ),
        ((plan, digits, once, 1), "has seed 0, not 1"),
        ((plan, digits, replace(once, lr=0.5), 0), "has recipe lr 0.05, not 0.5"),
        ((plan, other, once, 0), f"has data hash {digits.facts.hash}, not {other.facts.hash}"),
    ):
        with pytest.raises(TrainingError, match=says):
            train_supernet(
                asked, data, recipe, seed=seed, device="cpu", output=tmp_path, resume=True
            )


def test_a_training_is_no_supernet_and_the_other_way_round(plan_of, digits, once, tmp_path):
    plan = plan_of(paths=0)
    train(plan.space.base, digits, once, device="cpu", output=tmp_path / "plain")
    with pytest.raises(TrainingError, match="has kind none, not supernet"):
        train_supernet(plan, digits, once, device="cpu", output=tmp_path / "plain", resume=True)
    train_supernet(plan, digits, once, device="cpu", output=tmp_path / "net")
    with pytest.raises(TrainingError, match="has kind supernet, not none"):
        train(plan.space.base, digits, once, device="cpu", output=tmp_path / "net", resume=True)
    for place in (tmp_path, tmp_path / "plain"):
        with pytest.raises(TrainingError, match="no supernet in"):
            load_supernet(place)


def test_spoilt_files_are_named(plan_of, digits, once, tmp_path):
    train_supernet(plan_of(paths=0), digits, once, device="cpu", output=tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match=r"model\.safetensors is not the weights of this"):
        load_supernet(tmp_path)
    facts = tmp_path / "train.json"
    facts.write_text(facts.read_text().replace('"paths"', '"path"'))
    with pytest.raises(TrainingError, match=r"train\.json cannot be read .*path.*: train anew"):
        load_supernet(tmp_path)
