"""Free and fixed batches, and networks that no attempt exports."""

import pytest
import torch

from bamsearch.errors import ExportError
from bamsearch.export.network import export_network

FORMATS = pytest.mark.parametrize("format", ["onnx", "pt2"])


@FORMATS
def test_a_batch_can_be_fixed(tmp_path, format, apart, run, expected):
    net, path = apart(torch.relu), tmp_path / f"net.{format}"
    exported = export_network(net, path, format, input_shape=(3, 8, 9), batch=3)
    assert (exported.batch, exported.dynamic_batch, exported.compared_at) == (3, False, (3,))
    x = torch.randn(3, 3, 8, 9)
    torch.testing.assert_close(run(format, path, x), expected(net, x))
    with pytest.raises(Exception, match=r"(?i)dimension|shape|guard"):
        run(format, path, torch.randn(2, 3, 8, 9))


@pytest.mark.parametrize(
    ("function", "note"),
    [
        (lambda x: x.reshape(1, 4, 6, 7), "Apart does not accept an input of 2×3×8×9: "),
        (lambda x: x * 2 if x.shape[0] == 2 else x, "pt2 export failed: "),
        # torch.export takes this one, and what comes out is wrong for a batch of one
        (lambda x: x * 2 if x.shape[0] > 1 else x, "the results of the pt2 file differ from"),
    ],
)
def test_where_the_batch_cannot_be_free_it_is_one(
    tmp_path, function, note, apart, run_pt2, expected
):
    net, path = apart(function), tmp_path / "net.pt2"
    exported = export_network(net, path, "pt2", input_shape=(3, 8, 9))
    assert (exported.batch, exported.dynamic_batch, exported.compared_at) == (1, False, (1,))
    assert exported.note.startswith(note)
    assert "\n" not in exported.note
    x = torch.randn(1, 3, 8, 9)
    torch.testing.assert_close(run_pt2(path, x), expected(net, x))


@FORMATS
def test_a_network_that_cannot_be_exported_is_one_line(tmp_path, capfd, format, apart):
    net = apart(lambda x: x * 2 if x.sum() > 0 else x)
    with pytest.raises(ExportError, match=f"{format} export failed: ") as caught:
        export_network(net, tmp_path / "net", format, input_shape=(3, 8, 9))
    assert "\n" not in str(caught.value)
    assert [*tmp_path.iterdir()] == []
    # torch prints the graph that it could not follow
    assert capfd.readouterr() == ("", "")
