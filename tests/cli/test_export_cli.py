"""``bamsearch export``: what it says, what it writes and how it fails."""

import json
import re
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from bamsearch.export import formats
from bamsearch.export.comparison import TOLERANCE
from bamsearch.graph.designs import build, load, save
from bamsearch.records import Design, Insertion

NETS = """\
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


def small(num_classes=10):
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.layer3, network.layer4 = nn.Conv2d(128, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
    network.fc = nn.Linear(8, num_classes)
    return network
"""
DESIGN = Design("nets.py:small", (3, 32, 48), (Insertion("layer1", 8, 2), Insertion("layer2", 8)))
RANDOM = (
    "bamsearch: warning: design has no weights: the exported weights are random (seed 0), "
    "good only for timing; --weights FILE loads trained weights\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a design in ``design``, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS, encoding="utf-8")
    save(DESIGN, "design")
    return tmp_path


@pytest.fixture
def names(folder):
    """What is in the folder besides what was there."""
    before = {*folder.rglob("*")}
    return lambda: sorted(
        str(path.relative_to(folder))
        for path in {*folder.rglob("*")} - before
        if "__pycache__" not in path.parts
    )


def fail(result, code: int, text: str) -> None:
    assert result.exit_code == code
    assert result.stdout == ""
    said = re.sub(r"^executes code of .*\n", "", result.stderr)
    assert said.count("\n") == 1, said
    assert re.search(text, said), said


def masked(text: str) -> str:
    """Without what differs by machine and version."""
    text = re.sub(r"\d\.\de-\d\d", "#", text)
    return re.sub(r"\(\d+\.\d MB\)|opset \d+", "#", text)


def test_onnx_by_default(bamsearch_cli, names, golden):
    result = bamsearch_cli("export", "design")
    assert result.exit_code == 0, result.stderr
    assert names() == ["small-bam.onnx"]
    golden(masked(result.stdout), "export.txt")
    assert result.stderr == (
        "executes code of nets.py\n"
        + RANDOM
        + "\nWritten   small-bam.onnx\n"
        + 'Next:\n  use  onnxruntime.InferenceSession("small-bam.onnx")\n'
    )
    session = onnxruntime.InferenceSession("small-bam.onnx", providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert Design.from_json(properties["bamsearch_design"]) == DESIGN


def test_pt2_with_all_its_facts_as_json(bamsearch_cli, names):
    result = bamsearch_cli("export", "design/design.json", "--format", "pt2", "--json", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == RANDOM.replace("design has", "design/design.json has")
    assert names() == ["small-bam.pt2"]
    content = json.loads(result.stdout)
    assert content.pop("bytes") == Path("small-bam.pt2").stat().st_size
    assert content.pop("max_abs_diff") >= 0
    assert 0 <= content.pop("max_rel_diff") <= content["tolerance"]
    assert content == {
        "model": "nets.py:small",
        "path": "small-bam.pt2",
        "format": "pt2",
        "opset": None,
        "input": {"name": "image", "shape": [3, 32, 48]},
        "outputs": [{"name": "output", "shape": [10]}],
        "batch": None,
        "dynamic_batch": True,
        "note": None,
        "weights": None,
        "seed": 0,
        "compared_at": [1, 2],
        "tolerance": TOLERANCE,
    }


@pytest.mark.parametrize("file", ["trained.pt", "trained.safetensors"])
def test_weights_and_name_are_as_given(bamsearch_cli, names, file):
    network = build(DESIGN).eval()
    if file.endswith(".pt"):
        torch.save(network.state_dict(), file)
    else:
        save_file(network.state_dict(), file)
    result = bamsearch_cli("export", "design", "--weights", file, "-o", "out/net.pt2", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert file in result.stdout
    assert "none, bit for bit" in result.stdout
    assert names() == ["out", "out/net.pt2", file]
    x = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        exported = torch.export.load("out/net.pt2").module()(x)
        torch.testing.assert_close(exported, network(x))


def test_weights_beside_the_design_are_taken(bamsearch_cli):
    save(DESIGN, "design", build(DESIGN), force=True)
    result = bamsearch_cli("export", "design", "-o", "net.pt2", "-q")
    assert result.stderr == ""
    assert "design/model.safetensors" in result.stdout
    x = torch.randn(3, 3, 32, 48)
    with torch.no_grad():
        exported = torch.export.load("net.pt2").module()(x)
        torch.testing.assert_close(exported, load("design").eval()(x))


def test_the_seed_decides_random_weights(bamsearch_cli):
    def weights(name: str, seed: str) -> torch.Tensor:
        assert bamsearch_cli("export", "design", "-o", name, "--seed", seed).exit_code == 0
        return torch.export.load(name).state_dict["conv1.weight"]

    first = weights("a.pt2", "1")
    assert torch.equal(weights("b.pt2", "1"), first)
    assert not torch.equal(weights("c.pt2", "2"), first)


def test_a_fixed_batch(bamsearch_cli):
    result = bamsearch_cli("export", "design", "-o", "net.pt2", "--batch-size", "3")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"batch +3 only\n +input +image 3×3×32×48\n", result.stdout)


def test_a_batch_that_cannot_be_free_is_fixed_and_said(bamsearch_cli):
    Path("nets.py").write_text(
        NETS.replace(
            "    network = ResNet",
            "    class Net(ResNet):\n        def forward(self, x):\n"
            "            return super().forward(x if x.shape[0] == 1 else x + 1)\n\n"
            "    network = Net",
        ),
        encoding="utf-8",
    )
    save(Design("nets.py:small", (3, 32, 48)), "base")
    result = bamsearch_cli("export", "base", "-o", "net.pt2", "-q")
    assert result.exit_code == 0, result.stderr
    assert "bamsearch: warning: the batch is fixed at 1: " in result.stderr
    assert "batch 1\n" in result.stdout
    assert "BAM at no site" in result.stdout


def test_a_dry_run_does_all_but_the_writing(bamsearch_cli, names):
    result = bamsearch_cli("export", "design", "-n", "-o", "a/net.pt2")
    assert result.exit_code == 0, result.stderr
    assert "Would write   a/net.pt2" in result.stderr
    assert "difference" in result.stdout
    assert names() == []


def test_nothing_is_overwritten_without_force(bamsearch_cli):
    Path("small-bam.pt2").write_text("mine")
    line = ["export", "design", "--format", "pt2"]
    fail(bamsearch_cli(*line), 2, "error: small-bam.pt2 exists already: .* or add --force")
    assert Path("small-bam.pt2").read_text() == "mine"
    assert bamsearch_cli(*line, "--force").exit_code == 0
    torch.export.load("small-bam.pt2")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["nowhere"], "error: no design at nowhere: "),
        (["resnet18"], "error: no design at resnet18: .*'bamsearch insert MODEL -o DIR'"),
        (["nets.py"], "error: nets.py is not a whole JSON file"),
        (["design", "--format", "tflite"], "'tflite' is not one of 'onnx', 'pt2'"),
        (["design", "--weights", "none.pt"], "error: no weights at none.pt"),
        (["design", "-o", "design"], "error: design is a folder, not a file"),
        (["design", "-o", "nets.py/x.onnx"], "error: nets.py/x.onnx cannot be created"),
        (["design", "--batch-size", "0"], "0 is not in the range"),
    ],
)
def test_bad_input_is_one_line(bamsearch_cli, names, line, text):
    fail(bamsearch_cli("export", *line), 2, text)
    assert names() == []


def test_weights_of_another_network_are_one_line(bamsearch_cli):
    torch.save({"weight": torch.zeros(1)}, "other.pt")
    result = bamsearch_cli("export", "design", "--weights", "other.pt", "--format", "pt2")
    fail(result, 2, "error: other.pt does not hold the weights of design: ")
    assert len(result.stderr) < 350


def test_a_wrong_file_is_not_kept(bamsearch_cli, names, monkeypatch):
    def zeros(path):
        return lambda x: {"output": torch.zeros(len(x), 10)}

    monkeypatch.setitem(formats.REOPEN, "pt2", zeros)
    result = bamsearch_cli("export", "design", "--format", "pt2")
    fail(result, 2, "error: the results of the pt2 file differ from PyTorch: .*no file was written")
    assert names() == []


def test_a_missing_extra_is_one_line(bamsearch_cli, monkeypatch):
    monkeypatch.setitem(formats.PACKAGES, "onnx", ("no_such_package",))
    result = bamsearch_cli("export", "design")
    fail(result, 2, r"error: no_such_package is not installed: pip install 'bamsearch\[export\]'")


def test_a_detector_is_one_line_with_what_works(bamsearch_cli, monkeypatch, names):
    save(Design("ssdlite320_mobilenet_v3_large", (3, 320, 320)), "ssd")
    result = bamsearch_cli("export", "ssd", "-o", "x.onnx")
    works = r"bamsearch\.export_network\(bamsearch\.load\(DESIGN\)\.backbone, "
    fail(result, 2, f"error: SSD is a detector: .*{works}")
    assert not Path("x.onnx").exists()
