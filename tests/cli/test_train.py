"""``bamsearch train``."""

import json
import os
import signal

import pytest

from bamsearch.cli.console import Console
from bamsearch.cli.training_view import TrainingDisplay
from bamsearch.graph.designs import build, save
from bamsearch.records import Design, Insertion
from bamsearch.training.progress import EpochMetrics, Progress
from bamsearch.training.recipe import Recipe
from bamsearch.training.trainer import TrainerState

NET = """
from torch import nn
def small(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
def boxes(num_classes=10):
    class Boxes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)
        def forward(self, x):
            return {"boxes": self.layer(x)}
    return Boxes()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder: net.py, and a design for digits in ``des``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    save(_design(), "des")
    return tmp_path


def _design(shape=(3, 8, 8), classes=10) -> Design:
    return Design("net.py:small", shape, [Insertion("2", 4, 2)], num_classes=classes)


QUICK = ["--data", "digits", "--epochs", "1", "--batch-size", "256", "--device", "cpu"]


def test_a_design_is_trained_and_kept(bamsearch_cli, folder):
    result = bamsearch_cli("train", "des", *QUICK, "-o", "out")
    assert result.exit_code == 0, result.stderr
    first, second, third, *_ = result.stdout.splitlines()
    assert first == "net.py:small · 3×8×8 · BAM at 2 r4 d2"
    assert second.startswith("digits · 1,445 images to train, 176 to validate · hash ")
    assert third == ("recipe short: 1 epoch, batch 256, lr 0.1, cosine · random weights · seed 0")
    assert "95% interval [" in result.stdout
    assert "One seed does not allow a comparison" in result.stdout
    assert "epoch 1/1 · lr " in result.stderr
    assert "bamsearch export out --format onnx" in result.stderr
    assert bamsearch_cli("export", "out", "-n", "--format", "pt2").exit_code == 0


def test_a_model_is_trained_without_bam_in_a_folder_of_its_own(bamsearch_cli, folder):
    for number in ("001", "002"):
        result = bamsearch_cli("train", "net.py:small", *QUICK, "--json")
        assert result.exit_code == 0, result.stderr
        content = json.loads(result.stdout)
        assert content["folder"] == f"trained/small-{number}"
        assert content["design"]["insertions"] == []
        assert (content["design"]["input_shape"], content["design"]["num_classes"]) == (
            [3, 8, 8],
            10,
        )
        assert (folder / content["folder"] / "model.safetensors").is_file()
    validation = content["validation"]
    assert validation["images"] == content["data"]["validation"] == 176
    assert validation["accuracy"] == validation["right"] / 176
    low, high = validation["interval_95"]
    assert low < validation["accuracy"] < high
    assert content["epochs"][-1]["validation_accuracy"] == pytest.approx(validation["accuracy"])


def test_trained_weights_are_tuned(bamsearch_cli):
    assert bamsearch_cli("train", "des", *QUICK, "-o", "out").exit_code == 0
    result = bamsearch_cli("train", "out", *QUICK, "-o", "more")
    assert "recipe fine-tune: 1 epoch" in result.stdout
    assert "weights out/model.safetensors" in result.stdout
    anew = bamsearch_cli("train", "out", *QUICK, "--weights", "random", "-n")
    assert "recipe short" in anew.stdout
    assert "random weights" in anew.stdout


def test_weights_that_init_paper_disturbs_are_warned_of(bamsearch_cli):
    assert bamsearch_cli("train", "net.py:small", *QUICK, "-o", "base").exit_code == 0
    line = ["train", "des", *QUICK, "--weights", "base/model.safetensors", "-n"]
    assert "init paper scales features by about 1.5" in bamsearch_cli(*line).stderr


def test_a_dry_run_writes_nothing(bamsearch_cli, folder):
    before = set(folder.rglob("*"))
    result = bamsearch_cli("train", "des", *QUICK, "-n", "-o", "out")
    assert result.exit_code == 0
    assert "Would write   out/checkpoint.pt" in result.stderr
    assert not {p for p in set(folder.rglob("*")) - before if "__pycache__" not in str(p)}


def test_ctrl_c_leaves_a_training_that_can_be_resumed(bamsearch_cli, folder, monkeypatch):
    line = ["train", "des", *QUICK, "--batch-size", "64", "-o"]
    assert bamsearch_cli(*line, "whole").exit_code == 0
    plain, calls = TrainerState.__init__, []

    def interrupted(trainer, *args) -> None:
        plain(trainer, *args)

        def hook(module, args) -> None:
            calls.append(1)
            if len(calls) == 7:
                os.kill(os.getpid(), signal.SIGINT)

        trainer.module.register_forward_pre_hook(hook)

    with monkeypatch.context() as patch:
        patch.setattr(TrainerState, "__init__", interrupted)
        result = bamsearch_cli(*line, "cut")
    assert result.exit_code == 130
    assert "bamsearch train --resume cut" in result.stderr
    assert not (folder / "cut" / "model.safetensors").exists()
    assert bamsearch_cli("train", "--resume", "cut", "--device", "cpu").exit_code == 0
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_options_typed_to_resume_must_not_differ(bamsearch_cli):
    assert bamsearch_cli("train", "des", *QUICK, "-o", "out").exit_code == 0
    same = ["des", *QUICK, "--recipe", "short", "--seed", "0"]
    assert bamsearch_cli("train", *same, "--resume", "out").exit_code == 0
    save(Design("net.py:small", (3, 8, 8), num_classes=10), "other")
    for line, says in (
        (["--seed", "1"], "has seed 0, not 1"),
        (["--epochs", "2"], "has recipe epochs 1, not 2"),
        (["--recipe", "paper-cifar"], "has recipe name short, not paper-cifar"),
        (["--lr", "0.5"], "has recipe lr 0.1, not 0.5"),
        (["other"], "has design insertions"),
        (["--weights", "DEFAULT"], "--weights is for new trainings"),
        (["-o", "elsewhere"], "--resume and --output: choose one"),
    ):
        result = bamsearch_cli("train", "--resume", "out", "--device", "cpu", *line)
        assert (result.exit_code, says in result.stderr) == (2, True), result.stderr


def test_a_training_is_overwritten_by_force_alone(bamsearch_cli):
    line = ["train", "des", *QUICK, "-o", "out"]
    assert bamsearch_cli(*line).exit_code == 0
    result = bamsearch_cli(*line)
    assert result.exit_code == 2
    assert "continue with --resume out" in result.stderr
    assert bamsearch_cli(*line, "--force").exit_code == 0


@pytest.mark.parametrize(
    "model", ["fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large", "net.py:boxes"]
)
def test_a_network_other_than_a_classifier_is_sent_to_the_readme(bamsearch_cli, model):
    result = bamsearch_cli("train", model, "--data", "digits")
    assert result.exit_code == 3
    assert "Your own training loop" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--data", "digits"], "DESIGN or MODEL is missing"),
        (["des"], "--data is missing"),
        (["des", "--data", "digit"], "did you mean digits?"),
        (["large", "--data", "digits"], "the design is for 3x32x32 and 10 classes, but digits has"),
        (["large", "--data", "digits"], "'bamsearch insert net.py:small --data digits -o DIR'"),
        (["hundred", "--data", "digits"], "the design is for 3x8x8 and 100 classes"),
        (["resnet19", "--data", "digits"], "did you mean resnet"),
        (["des", *QUICK, "--precision", "16-mixed"], "16-mixed needs a GPU"),
        (["des", *QUICK, "--recipe", "fine-tune"], "recipe fine-tune requires trained weights"),
        (["des", *QUICK, "--weights", "none.pt"], "no weights at none.pt"),
        (["--resume", "nowhere"], "no checkpoint in nowhere"),
        (["des", *QUICK, "--lr", "0"], "0.0 is not in the range"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bamsearch_cli, folder, line, says):
    save(_design((3, 32, 32)), "large")
    save(_design(classes=100), "hundred")
    result = bamsearch_cli("train", *line)
    assert result.exit_code == 2
    *before, last = result.stderr.splitlines()
    assert says in last
    assert before in ([], ["executes code of net.py"])
    assert not (folder / "trained").exists() or not any((folder / "trained").iterdir())


def test_only_the_first_process_prints(bamsearch_cli, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = bamsearch_cli("train", "des", *QUICK, "-n")
    assert (result.stdout, result.stderr) == ("", "")


def test_the_view_counts_what_is_left(capsys):
    now = iter([0.0, 0.0, 40.0, 40.0, 100.0, 100.0]).__next__
    recipe = Recipe("r", epochs=2, batch_size=1, lr=0.1)
    view = TrainingDisplay(recipe, "title", Console(), None, clock=now)
    progress = Progress(steps=10)
    view.watch(progress)
    progress.step, progress.images, progress.loss, progress.right = 4, 8, 4.0, 2
    view.watch(progress)
    # 4 steps in 40 s: 16 are left
    assert capsys.readouterr().err == (
        "epoch 1/2 · step 4/10 · loss 0.5000, 25.0% · 2 min 40 s remaining\n"
    )
    progress.next_epoch(EpochMetrics(1, 0.1, 0.5, 0.25, 0.6, 0.75, 100.0))
    view.watch(progress)
    assert capsys.readouterr().err == (
        "epoch 1/2 · lr 0.1 · train loss 0.5000, 25.0% · validation loss 0.6000, 75.0% · "
        "1 min 40 s remaining\n"
    )


def test_the_view_is_drawn_on_a_terminal():
    drawn = []
    recipe = Recipe("r", epochs=2, batch_size=1, lr=0.1)
    view = TrainingDisplay(recipe, "title", Console(), drawn.append, clock=lambda: 0.0)
    progress = Progress(steps=10)
    view.watch(progress)
    progress.next_epoch(EpochMetrics(1, 0.1, 0.5, 0.25, 0.6, 0.75, 100.0))
    view.watch(progress)
    first, second = drawn
    assert "epoch 1/2 · step 0/10" in first
    assert "75.00%" in second
    assert second.startswith("title\n")


def test_a_design_with_weights_beside_it_is_where_training_starts(bamsearch_cli):
    network = build(_design())
    save(_design(), "warm", network)
    result = bamsearch_cli("train", "warm", *QUICK, "-n")
    assert "weights warm/model.safetensors" in result.stdout
