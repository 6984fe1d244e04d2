"""Every command with --weights FILE reads it in the same way, and says what it took off."""

import pytest
import torch

from bamsearch.graph.designs import build, load, save
from bamsearch.graph.models import build_model
from bamsearch.records import Design, Insertion

NET = "bamsearch.examples:resnet20"
DIGITS = ("--data", "digits", "--epochs", "1")
SAID = "wild.pth: took state_dict; without the prefix module._orig_mod.\n"


def wrapped(module, name="wild.pth", **changes):
    state = {f"module._orig_mod.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3} | changes, name)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)


def ok(result):
    assert result.exit_code == 0, result.stderr
    return result


def test_insert(bamsearch_cli):
    base = build_model(NET, (3, 32, 32))
    wrapped(base)
    result = ok(bamsearch_cli("insert", NET, "--weights", "wild.pth", "-o", "design"))
    assert result.stderr.count(SAID) == 1
    assert torch.equal(load("design").conv1.weight, base.conv1.weight)
    quiet = ok(bamsearch_cli("insert", NET, "--weights", "wild.pth", "-q"))
    assert "wild.pth" not in quiet.stderr


def test_networks_with_bam(bamsearch_cli):
    design = Design(NET, (3, 8, 8), [Insertion("layer1", 4, 2)], num_classes=10)
    module = build(design)
    save(design, "design")
    wrapped(module)
    for line in (
        ("export", "design", "--weights", "wild.pth", "--format", "pt2", "-o", "net.pt2"),
        ("train", "design", "--weights", "wild.pth", *DIGITS, "-n"),
    ):
        assert ok(bamsearch_cli(*line)).stderr.count(SAID) == 1


def test_train_from_a_base_and_from_an_own_checkpoint(bamsearch_cli):
    wrapped(build_model(NET, (3, 8, 8), num_classes=10))
    line = ("train", NET, *DIGITS, "--weights")
    assert ok(bamsearch_cli(*line, "wild.pth", "-o", "out")).stderr.count(SAID) == 1
    result = ok(bamsearch_cli(*line, "out/checkpoint.pt", "-n"))
    assert "out/checkpoint.pt: took model\n" in result.stderr


def test_verify_says_it_once(bamsearch_cli):
    wrapped(build_model(NET, (3, 8, 8), num_classes=10))
    search = ("--score", "params", "--trials", "2", "--init", "identity", "-o", "run")
    ok(bamsearch_cli("search", NET, "--data", "digits", *search))
    line = ("verify", "run", "--seeds", "2", "--looks", "1", "--epochs", "1", "-n")
    assert ok(bamsearch_cli(*line, "--weights", "wild.pth")).stderr.count(SAID) == 1


@pytest.mark.parametrize("command", ["insert", "train", "export"])
def test_a_file_with_nan(bamsearch_cli, command):
    design = Design(NET, (3, 8, 8), [], num_classes=10)
    module = build(design)
    with torch.no_grad():
        module.conv1.weight[0] = float("nan")
    save(design, "design")
    wrapped(module)
    words = {"insert": [NET], "train": ["design", *DIGITS], "export": ["design"]}[command]
    result = bamsearch_cli(command, *words, "--weights", "wild.pth")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "wild.pth has NaN or infinite weights in conv1.weight" in result.stderr
    save(design, "design", module, force=True)
    if command == "export":
        result = bamsearch_cli("export", "design")
        assert "safetensors has NaN or infinite weights in conv1.weight" in result.stderr
