"""What is in an ONNX file and in a pt2 file, and what they need."""

import importlib.util

import onnx
import pytest
import torch

from bamsearch.errors import MissingExtraError, OutputError
from bamsearch.export.network import export_network
from bamsearch.records import Design


def test_onnx_names_its_input_output_and_design(files, design):
    model = onnx.load(files["onnx"].path)
    onnx.checker.check_model(model)
    (graph_input,), (result,) = model.graph.input, model.graph.output
    assert (graph_input.name, result.name) == ("image", "output")
    axes = graph_input.type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", *design.input_shape]
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert Design.from_json(properties["bamsearch_design"]) == design
    assert properties["bamsearch_version"]


def test_pt2_names_its_input_keys_and_design(network, files, design):
    extra = {"bamsearch_design": "", "bamsearch_version": ""}
    program = torch.export.load(files["pt2"].path, extra_files=extra)
    text = extra["bamsearch_design"]
    assert Design.from_json(text.decode() if isinstance(text, bytes) else text) == design
    assert extra["bamsearch_version"]
    assert program.graph_signature.user_inputs == ("image",)
    assert program.state_dict.keys() == network.state_dict().keys()


def test_weights_above_the_limit_go_beside(tmp_path, monkeypatch, apart, run_onnx, expected):
    program = pytest.importorskip("torch.onnx._internal.exporter._onnx_program")
    monkeypatch.setattr(program, "_LARGE_MODEL_THRESHOLD", 10)
    net, path = apart(torch.relu), tmp_path / "net.onnx"
    exported = export_network(net, path, "onnx", input_shape=(3, 8, 9))
    assert exported.files == (path, tmp_path / "net.onnx.data")
    assert sorted(tmp_path.iterdir()) == sorted(exported.files)
    x = torch.randn(2, 3, 8, 9)
    torch.testing.assert_close(run_onnx(path, x)["output"], expected(net, x))
    path.unlink()
    with pytest.raises(OutputError, match=r"net\.onnx\.data exists already"):
        export_network(net, path, "onnx", input_shape=(3, 8, 9))
    assert not path.exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, package, apart):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    message = rf"{package} is not installed: pip install 'bamsearch\[export\]'"
    with pytest.raises(MissingExtraError, match=message):
        export_network(apart(torch.relu), tmp_path / "net.onnx", "onnx", input_shape=(3, 8, 9))
    export_network(apart(torch.relu), tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
