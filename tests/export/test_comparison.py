"""What is compared with what, and when it counts as equal."""

import pytest
import torch

from bamsearch.errors import ExportError
from bamsearch.export.comparison import TOLERANCE
from bamsearch.export.network import export_network


def test_outputs_are_named_after_the_networks_own(tmp_path, apart, run_onnx, expected):
    net = apart(lambda x: {"out": x + 1, "maps": [x, x.mean()[None].expand(x.shape[0])]})
    exported = export_network(net, tmp_path / "net.onnx", "onnx", input_shape=(3, 8, 9))
    assert dict(exported.outputs) == {"out": (4, 6, 7), "maps_0": (4, 6, 7), "maps_1": ()}
    x = torch.randn(3, 3, 8, 9)
    result, wanted = run_onnx(exported.path, x), expected(net, x)
    torch.testing.assert_close(result["out"], wanted["out"])
    torch.testing.assert_close(result["maps_0"], wanted["maps"][0])


def test_a_pyramids_numbers_become_names(apart):
    exported = export_network(
        apart(lambda x: {"0": x, "pool": x}), None, "pt2", input_shape=(3, 8, 9)
    )
    assert [*exported.outputs] == ["output_0", "output_pool"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x * 1.001,
            "differ from PyTorch: output by .*; no file was written",
        ),
        (lambda x: x / 0, "differ from PyTorch: output by nan"),
        (lambda x: x[:, :2], "returns .* PyTorch"),
    ],
)
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, broken, change, message, apart):
    broken(change)
    path = tmp_path / "net.pt2"
    path.write_text("mine")
    with pytest.raises(ExportError, match=message):
        export_network(apart(torch.relu), path, "pt2", input_shape=(3, 8, 9), force=True)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "mine"


def test_what_differs_less_than_the_tolerance_is_kept_and_said(tmp_path, broken, apart):
    broken(lambda x: x * (1 + TOLERANCE / 2))
    exported = export_network(apart(torch.relu), tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    assert exported.max_rel_diff == pytest.approx(TOLERANCE / 2, rel=0.01)


def test_values_that_cannot_be_compared_are_refused(tmp_path, apart):
    with pytest.raises(ExportError, match="infinite values or NaN"):
        export_network(apart(lambda x: x / 0), tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    assert [*tmp_path.iterdir()] == []


def test_an_output_that_is_not_a_tensor_is_refused(apart):
    with pytest.raises(ExportError, match="returns str cannot be exported"):
        export_network(apart(lambda x: "cat"), None, "pt2", input_shape=(3, 8, 9))


def test_an_input_that_the_network_does_not_take_is_refused(apart):
    with pytest.raises(ExportError, match="Apart does not accept an input of 1×3×2×2: "):
        export_network(apart(torch.relu), None, "pt2", input_shape=(3, 2, 2))
