from pathlib import Path

import pytest

from bamsearch import files
from bamsearch.errors import OutputError
from bamsearch.files import check_output_file, check_output_folder


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_new_path_is_fine(check, tmp_path):
    check(None, force=False)
    check(tmp_path / "new", force=False)
    check(tmp_path / "a" / "b" / "new", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_relative_path_is_fine(check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(Path("new"), force=False)


def test_a_file_is_not_overwritten(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(
        OutputError, match="file exists already: choose another path, or add `force`"
    ):
        check_output_file(path, force=False)
    check_output_file(path, force=True)


def test_a_folder_is_not_overwritten(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    check_output_folder(folder, force=False)
    (folder / "file").write_text("mine")
    with pytest.raises(OutputError, match="folder exists already: choose another"):
        check_output_folder(folder, force=False)
    check_output_folder(folder, force=True)


def test_the_wrong_kind_is_refused_even_by_force(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_output_folder(path, force=True)
    with pytest.raises(OutputError, match="is a folder"):
        check_output_file(tmp_path, force=True)


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_below_a_file_nothing_can_be_written(check, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check(path / "new", force=False)


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_no_permission(check, tmp_path, monkeypatch):
    # root may write anywhere, so the answer is replaced
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission"):
        check(tmp_path / "new", force=False)
