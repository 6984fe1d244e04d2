"""What the tests of export share: networks to export, and files run on inputs of our own."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from bamsearch.export import formats
from bamsearch.export.network import export_network
from bamsearch.graph.bams import bam_parameters
from bamsearch.graph.insertion import insert_bam
from bamsearch.records import Design, Insertion

NETS = """\
from torchvision.models.resnet import BasicBlock, ResNet


def small(num_classes):
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
"""


def _small() -> nn.Module:
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def _run_onnx(path: Path, x: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (session_input,) = session.get_inputs()
    values = session.run(names, {session_input.name: x.numpy()})
    return dict(zip(names, map(torch.from_numpy, values), strict=True))


def _run_pt2(path: Path, x: Tensor):
    with torch.no_grad():
        return torch.export.load(path).module()(x)


def _run(format: str, path: Path, x: Tensor) -> Tensor:
    return _run_onnx(path, x)["output"] if format == "onnx" else _run_pt2(path, x)


def _expected(network: nn.Module, x: Tensor):
    was_training = network.training
    with torch.no_grad():
        outputs = network.eval()(x)
    network.train(was_training)
    return outputs


class Apart(nn.Module):
    """A little network around a function; the exporter does not depend on BAM."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.fixture(scope="session")
def small():
    """``small()`` is the base of ``network``, with other weights."""
    return _small


@pytest.fixture(scope="session")
def apart():
    """``apart(function)`` is a network of one convolution and the function."""
    return Apart


@pytest.fixture(scope="session")
def run():
    """``run(format, path, x)`` is the one output of a file, run as its users do."""
    return _run


@pytest.fixture(scope="session")
def run_onnx():
    """``run_onnx(path, x)`` is the outputs of an ONNX file by name."""
    return _run_onnx


@pytest.fixture(scope="session")
def run_pt2():
    """``run_pt2(path, x)`` is what a pt2 file returns."""
    return _run_pt2


@pytest.fixture(scope="session")
def expected():
    """``expected(network, x)`` is what a network returns in eval mode; its mode stays."""
    return _expected


@pytest.fixture(scope="session")
def design() -> Design:
    """What ``network`` is built from; ``nets`` makes it buildable by name."""
    insertions = (Insertion("layer1", 4, 2), Insertion("layer2", 8, 1))
    return Design("nets.py:small", (3, 32, 48), insertions, init="identity", num_classes=10)


@pytest.fixture(scope="session")
def network(design) -> nn.Module:
    """In train mode, with statistics and gates that a missing layer would show by."""
    torch.manual_seed(0)
    network = insert_bam(_small(), design=design)
    with torch.no_grad():
        network(torch.randn(4, *design.input_shape))
        for parameter in bam_parameters(network):
            if parameter.dim() == 0:
                parameter.fill_(0.7)
    return network


@pytest.fixture(scope="session")
def files(network, design, tmp_path_factory):
    """Format to the record of a whole export, each made once."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        format: export_network(network, folder / f"net.{format}", format, design=design)
        for format in ("onnx", "pt2")
    }


@pytest.fixture
def nets(tmp_path, monkeypatch) -> None:
    """A current folder with the model of ``design``."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS, encoding="utf-8")


@pytest.fixture
def broken(monkeypatch):
    """``broken(change)`` changes what the reloaded pt2 file computes."""
    honest = formats.REOPEN["pt2"]

    def install(change) -> None:
        def dishonest(path):
            run = honest(path)
            return lambda x: {name: change(value) for name, value in run(x).items()}

        monkeypatch.setitem(formats.REOPEN, "pt2", dishonest)

    return install
