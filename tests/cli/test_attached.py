"""A network that cannot be rewritten goes through every command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NETWORK = """
import torch
from torch import nn

def block(inputs, outputs, stride=1):
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

class FrozenStem(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.s0, self.s1 = block(3, 8), block(8, 8, 2)
        self.s2, self.s3 = block(8, 8, 2), block(8, 8)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        with torch.no_grad():
            x = self.s1(self.s0(x))
        self.last_map = x
        return self.fc(self.s3(self.s2(x)).mean((2, 3)))

def net(num_classes=10):
    return FrozenStem(num_classes)
"""
# The size and the classes of digits.
SIZE = ["--input-size", "8", "--num-classes", "10"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("model") / "frozen.py"
    path.write_text(NETWORK)
    return f"{path}:net"


@pytest.fixture
def design(bamsearch_cli, model, tmp_path) -> Path:
    folder = tmp_path / "design"
    result = bamsearch_cli("insert", model, *SIZE, "--sites", "s1", "-o", str(folder))
    assert result.exit_code == 0, result.stderr
    return folder


def test_insert_says_how_and_why(bamsearch_cli, model, design, tmp_path):
    assert json.loads((design / "design.json").read_text())["how"] == "attach"
    line = ["insert", model, *SIZE, "--sites", "s1", "-o", str(tmp_path / "again")]
    shown = bamsearch_cli(*line, "--dry-run")
    _, way, reason = shown.stdout.splitlines()[:3]
    assert way == "attached, equal to the base with all BAMs closed"
    assert reason.startswith("not rewritten: ")
    assert reason.endswith("in eval mode")
    content = json.loads(bamsearch_cli(*line, "--dry-run", "--json").stdout)
    assert (content["how"], content["compared"]) == ("attach", "values")
    assert reason == f"not rewritten: {content['why_attached']}"


def test_rewriting_it_is_refused_and_nothing_is_written(bamsearch_cli, model, tmp_path):
    folder = tmp_path / "no"
    result = bamsearch_cli("insert", model, *SIZE, "--how", "rewrite", "-o", str(folder))
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert not folder.exists()


def test_train_and_export(bamsearch_cli, design, tmp_path):
    trained = tmp_path / "trained"
    line = ["train", str(design), "--data", "digits", "--epochs", "1", "-o", str(trained)]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0, result.stderr
    result = bamsearch_cli("export", str(trained), "--format", "pt2", "-o", str(tmp_path / "e.pt2"))
    assert result.exit_code == 0, result.stderr


def test_profile(bamsearch_cli, model, design):
    result = bamsearch_cli("profile", model, str(design), "--samples", "5", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "s1" in result.stdout


@pytest.mark.parametrize("score", ["snip", "train"])
def test_search(bamsearch_cli, model, tmp_path, score):
    folder = tmp_path / "run"
    training = [] if score == "snip" else ["--epochs", "1"]
    options = ["--data", "digits", "--score", score, *training, "--trials", "2", "--no-random"]
    result = bamsearch_cli("search", model, *options, "--device", "cpu", "-o", str(folder))
    assert result.exit_code == 0, result.stderr
    assert json.loads((folder / "run.json").read_text())["summary"]["how"] == "attach"
    best = json.loads((folder / "best" / "design.json").read_text())
    assert best["how"] == "attach"


def test_a_search_by_a_cost_builds_nothing_and_decides_nothing(bamsearch_cli, model, tmp_path):
    folder = tmp_path / "run"
    line = ["search", model, *SIZE, "--score", "params", "--trials", "2", "-o", str(folder)]
    result = bamsearch_cli(*line)
    assert result.exit_code == 0, result.stderr
    assert "how" not in json.loads((folder / "run.json").read_text())["summary"]
