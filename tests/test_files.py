"""Files and folders on disk: whole or not there, and nothing left beside them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bamsearch.files import draft_folder, remove_dead_drafts, whole_file, whole_folder


def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_new_folder_appears_whole(tmp_path):
    target = tmp_path / "above" / "made"
    with whole_folder(target) as draft:
        (draft / "a").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["made"]
    assert (target / "a").read_text() == "1"


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def fail() -> None:
        with whole_folder(tmp_path / "made") as draft:
            (draft / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_another_process_was_quicker_to_make_stays(tmp_path):
    def be_slow() -> None:
        with whole_folder(tmp_path / "made") as draft:
            (draft / "a").write_text("1")
            (tmp_path / "made").mkdir()
            (tmp_path / "made" / "theirs").touch()

    with pytest.raises(OSError, match="not empty"):
        be_slow()
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "theirs"]


def test_drafts_of_processes_that_are_gone_are_removed(tmp_path):
    dead = tmp_path / f".writing-net-{gone()}"
    dead.mkdir()
    (dead / "half").touch()
    alive = tmp_path / f".writing-net-{os.getppid()}"
    others = [tmp_path / f".writing-else-{gone()}", tmp_path / ".writing-net-x", tmp_path / "net"]
    for path in (alive, *others):
        path.touch()
    remove_dead_drafts(tmp_path / "net")
    assert sorted(tmp_path.iterdir()) == sorted([alive, *others])


def test_a_draft_of_an_earlier_process_of_this_number_is_in_nobody_s_way(tmp_path):
    leftover = tmp_path / f".writing-net-{os.getpid()}"
    leftover.mkdir()
    (leftover / "half").touch()
    with draft_folder(tmp_path / "net") as draft:
        assert draft == leftover
        assert not list(draft.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_has_no_drafts(tmp_path):
    remove_dead_drafts(tmp_path / "nowhere" / "net")


@pytest.mark.parametrize("make", [whole_file, whole_folder])
def test_a_link_is_not_followed(tmp_path, make):
    outside = tmp_path / "outside"
    link = tmp_path / "link"
    link.symlink_to(outside)
    try:
        with make(link) as draft:
            (draft.write(b"1") if make is whole_file else (draft / "a").touch())
    except OSError:
        assert make is whole_folder
    assert not outside.exists()
    assert sorted(Path(tmp_path).iterdir()) == [link]
