"""A training that was cut off ends with the numbers and weights of one that was not."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bamsearch.errors import TrainingError
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.progress import Progress

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from bamsearch.data.loading import load_data
from bamsearch.records import Design
from bamsearch.training.engine import train
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import build_initial_model
from bamsearch.training.recipe import Recipe
from bamsearch.training.trainer import Training

torch.set_num_threads(1)
design = Design.from_json(Path(sys.argv[1]).read_text())
recipe = Recipe("quick", epochs=2, batch_size=256, lr=0.1, augment="crop")

def watch(progress):
    if (progress.epoch, progress.step) == (int(sys.argv[3]), int(sys.argv[4])):
        os.kill(os.getpid(), signal.SIGKILL)

folder = TrainingFolder(Path(sys.argv[2]), minutes=float(sys.argv[5]))
digits = load_data("digits")
initial = build_initial_model(design, digits, seed=3)
train(Training(initial, digits, recipe, 3, "cpu"), folder, watch=watch)
"""


@pytest.fixture
def whole(train, digits, design, quick, tmp_path, outcome):
    """What comes out of a training of the design that is not cut off."""
    train(design(("1", 4, 2)), digits, quick, seed=3, device="cpu", output=tmp_path / "whole")
    return outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("epoch", "step", "minutes", "has_checkpoint"),
    [(1, 3, 0.0, (1, 2)), (1, 5, 10.0, (1, 0))],
    ids=["between two checkpoints of an epoch", "after the checkpoint of an epoch"],
)
def test_killed_in_an_epoch(
    train,
    digits,
    design,
    quick,
    preloaded,
    tmp_path,
    outcome,
    whole,
    epoch,
    step,
    minutes,
    has_checkpoint,
):
    placed, folder = design(("1", 4, 2)), tmp_path / "killed"
    file = tmp_path / "design.json"
    file.write_text(placed.to_json())
    line = [preloaded / "python", "-c", KILLED, file, folder, epoch, step, minutes]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "model.safetensors").exists()
    at = TrainingFolder(folder).read_checkpoint()["progress"]
    assert (at.epoch, at.step) == has_checkpoint
    train(placed, digits, quick, seed=3, device="cpu", output=folder, resume=True)
    assert outcome(folder) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_between_two_steps(
    train, digits, design, quick, tmp_path, outcome, whole, number
):
    placed, folder = design(("1", 4, 2)), TrainingFolder(tmp_path / "cut", minutes=0)
    handler = signal.getsignal(number)

    def watch(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (0, 2):
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train(placed, digits, quick, seed=3, device="cpu", output=folder, watch=watch)
    assert signal.getsignal(number) is handler
    at = folder.read_checkpoint()["progress"]
    assert (at.epoch, at.step) == (0, 2)
    train(placed, digits, quick, seed=3, device="cpu", output=folder, resume=True)
    assert outcome(folder.path) == whole


def test_a_second_signal_does_not_wait(train, digits, design, quick, tmp_path):
    def watch(progress: Progress) -> None:
        if progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("continued after the second Ctrl-C")

    with pytest.raises(KeyboardInterrupt):
        train(design(), digits, quick, device="cpu", output=tmp_path / "cut", watch=watch)
    assert TrainingFolder(tmp_path / "cut").read_checkpoint()["progress"].epoch == 1


def test_a_finished_training_is_read_again(train, digits, design, quick, tmp_path, outcome):
    once = train(design(), digits, quick, device="cpu", output=tmp_path / "done")
    before = outcome(tmp_path / "done")
    again = train(design(), digits, quick, device="cpu", output=tmp_path / "done", resume=True)
    assert (again.right, again.rows) == (once.right, once.rows)
    assert outcome(tmp_path / "done") == before


def test_another_training_is_refused_by_what_differs(train, digits, design, quick, tmp_path):
    placed, folder = design(("1", 4, 2)), tmp_path / "run"
    train(placed, digits, quick.changed(epochs=1), device="cpu", output=folder)

    def resume(name, data, recipe, seed=0) -> None:
        train(name, data, recipe, seed=seed, device="cpu", output=folder, resume=True)

    once = quick.changed(epochs=1)
    for others, says in (
        ((placed, digits, once, 1), "has seed 0, not 1"),
        ((placed, digits, quick), "has recipe epochs 1, not 2"),
        ((placed, digits, replace(once, augment="none")), "has recipe augment crop, not none"),
        ((design(("1", 4, 4)), digits, once), r"has design insertions .*2.*, not .*4"),
        ((design(), digits, once), "has design insertions"),
    ):
        with pytest.raises(TrainingError, match=says):
            resume(*others)


def test_other_data_are_refused_by_their_hash(train, digits, design, quick, tmp_path):
    from bamsearch.data.loading import load_data

    once = quick.changed(epochs=1)
    train(design(), digits, once, device="cpu", output=tmp_path / "run")
    other = load_data("digits", split_seed=1)
    says = f"has data hash {digits.facts.hash}, not {other.facts.hash}"
    with pytest.raises(TrainingError, match=says):
        train(design(), other, once, device="cpu", output=tmp_path / "run", resume=True)


def test_no_checkpoint_says_so(train, digits, design, quick, tmp_path):
    with pytest.raises(TrainingError, match=r"no checkpoint in "):
        train(design(), digits, quick, device="cpu", output=Path(tmp_path), resume=True)
