"""Free and fixed batches, networks that no attempt exports, and what is on disk meanwhile."""

import subprocess
import sys
from traceback import walk_tb

import pytest
import torch

from bamsearch.errors import ExportError, OutputError
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


@FORMATS
def test_nothing_is_left_beside_the_file(files, format):
    folder = files[format].path.parent
    assert sorted(file.name for file in folder.iterdir()) == ["net.onnx", "net.pt2"]


def test_a_folder_is_made_and_a_file_replaced_by_force(tmp_path, apart, run_pt2):
    path = tmp_path / "a" / "b" / "net.pt2"
    net = apart(torch.relu)
    export_network(net, path, "pt2", input_shape=(3, 8, 9))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"net\.pt2 exists already"):
        export_network(net, path, "pt2", input_shape=(3, 8, 9))
    assert path.read_bytes() == before
    exported = export_network(net, path, "pt2", input_shape=(3, 8, 10), force=True)
    assert run_pt2(path, torch.zeros(1, 3, 8, 10)).shape == (1, *exported.outputs["output"])


def test_a_trial_keeps_nothing(tmp_path, monkeypatch, apart):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    exported = export_network(apart(torch.relu), None, "pt2", input_shape=(3, 8, 9))
    assert exported.path is None
    assert exported.size > 0
    assert [*tmp_path.iterdir()] == []


def test_places_that_cannot_be_written(tmp_path, monkeypatch, apart):
    (tmp_path / "file").write_text("mine")
    net = apart(torch.relu)
    with pytest.raises(OutputError, match="is a folder, not a file"):
        export_network(net, tmp_path, "pt2", input_shape=(3, 8, 9), force=True)
    with pytest.raises(OutputError, match="cannot be created"):
        export_network(net, tmp_path / "file" / "net.pt2", "pt2", input_shape=(3, 8, 9))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left"):
        export_network(net, tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    monkeypatch.setattr("torch.export.save", full)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left"):
        export_network(net, tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_full_disk_is_not_a_reason_to_fix_the_batch(tmp_path, monkeypatch, apart):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left") as failure:
        export_network(apart(torch.relu), tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    assert not [*tmp_path.iterdir()]
    assert failure.value.__cause__ is not None
    frames = [frame.f_locals for frame, _ in walk_tb(failure.value.__cause__.__traceback__)]
    (archive,) = (names["archive"] for names in frames if "archive" in names)
    archive.truncate(0)  # a BufferError if a view of it is held


def test_a_draft_of_a_killed_export_goes(tmp_path, apart):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / f".writing-net.pt2-{process.pid}").mkdir()
    export_network(apart(torch.relu), tmp_path / "net.pt2", "pt2", input_shape=(3, 8, 9))
    assert [*tmp_path.iterdir()] == [tmp_path / "net.pt2"]
