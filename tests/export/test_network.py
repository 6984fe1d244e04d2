"""``export_network`` and ``load_network``: what comes out, on inputs of our own."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bamsearch.errors import ExportError, InvalidValueError, WeightsError
from bamsearch.export.comparison import TOLERANCE
from bamsearch.export.network import export_network
from bamsearch.graph.designs import load_network, save
from bamsearch.graph.models import build_model
from bamsearch.records import Design

FORMATS = pytest.mark.parametrize("format", ["onnx", "pt2"])


@FORMATS
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_file_computes_what_the_network_does(
    network, files, format, batch, run, expected, design
):
    generator = torch.Generator().manual_seed(batch + 100)
    x = torch.randn(batch, *design.input_shape, generator=generator) * 2
    torch.testing.assert_close(run(format, files[format].path, x), expected(network, x))


@FORMATS
def test_bam_is_in_the_file(network, files, format, small, run, expected, design):
    x = torch.randn(2, *design.input_shape)
    base = small()
    state = {key: value for key, value in network.state_dict().items() if "bam." not in key}
    base.load_state_dict(state)
    difference = (run(format, files[format].path, x) - expected(base, x)).abs().max()
    assert difference > 100 * TOLERANCE


@FORMATS
def test_the_record_says_what_was_written(files, format, design):
    exported = files[format]
    assert exported.path is not None
    assert exported.files == (exported.path,)
    assert exported.size == exported.path.stat().st_size
    assert exported.format == format
    assert exported.input_name == "image"
    assert exported.input_shape == design.input_shape
    assert dict(exported.outputs) == {"output": (10,)}
    assert exported.dynamic_batch
    assert exported.batch is exported.note is None
    assert (exported.opset is None) == (format == "pt2")
    assert exported.compared_at == (1, 2)
    assert 0 <= exported.max_rel_diff <= TOLERANCE
    assert exported.max_abs_diff < 1e-4


def test_the_network_stays_as_it_was(network, files):
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert "forward" not in network.__dict__


def test_a_design_alone_is_built_with_random_weights(nets, design):
    exported = export_network(design, "a.pt2", "pt2")
    assert exported.input_shape == design.input_shape
    save(design, "design")
    before = torch.get_rng_state()
    assert export_network("design", "b.pt2", "pt2", seed=1).outputs == exported.outputs
    assert torch.equal(torch.get_rng_state(), before)


def test_formats_and_batches_are_checked_first():
    with pytest.raises(InvalidValueError, match=r"format must be .*onnx.*pt2.*, not 'tflite'"):
        export_network(nn.Identity(), None, "tflite")
    with pytest.raises(InvalidValueError, match="batch must be an integer of at least 1"):
        export_network(nn.Identity(), None, "pt2", batch=0)
    design = Design("resnet18", (3, 32, 32))
    for source in (design, "design"):
        with pytest.raises(InvalidValueError, match="source is a design: omit one of them"):
            export_network(source, None, "pt2", design=design)


@pytest.fixture
def saved(nets, network, design) -> None:
    """A folder with the design and, apart from it, its weights."""
    save(design, "design")
    torch.save({"state_dict": network.state_dict()}, "trained.pt")


def test_weights_are_from_a_file_from_beside_the_design_or_random(saved, network, expected, design):
    x = torch.randn(2, *design.input_shape)
    loaded, result, source = load_network("design", "trained.pt")
    assert (result, source) == (design, Path("trained.pt"))
    torch.testing.assert_close(expected(loaded, x), expected(network, x))
    assert load_network("design")[2] is None
    save(design, "design", network, force=True)
    loaded, _, source = load_network("design/design.json")
    assert source == Path("design/model.safetensors")
    torch.testing.assert_close(expected(loaded, x), expected(network, x))


def test_weights_of_another_network_are_refused(saved, network):
    state = network.state_dict()
    del state["conv1.weight"]
    torch.save(state, "short.pt")
    with pytest.raises(
        WeightsError, match=r"short\.pt does not hold the weights of .*conv1\.weight"
    ):
        load_network("design", "short.pt")
    with pytest.raises(WeightsError, match="no weights at"):
        load_network("design", "nowhere.pt")


def test_detectors_are_refused_by_name():
    detector = build_model("ssdlite320_mobilenet_v3_large", initialise=False)
    works = r"bamsearch\.export_network\(bamsearch\.load\(DESIGN\)\.backbone, "
    with pytest.raises(ExportError, match=f"SSD is a detector: .*{works}"):
        export_network(detector, None, "pt2", input_shape=(3, 320, 320))


def test_networks_of_two_inputs_are_refused():
    with pytest.raises(ExportError, match=r"takes 2 inputs \(input1, input2\)"):
        export_network(nn.Bilinear(2, 2, 2), None, "pt2")


def test_half_precision_is_refused(apart):
    with pytest.raises(InvalidValueError, match=r"conv\.weight is float16: call \.float\(\)"):
        export_network(apart(torch.relu).half(), None, "pt2")
