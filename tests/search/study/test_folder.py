"""A run's folder: whole files, one search at a time, names."""

import errno
import json
import os
import signal
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bamsearch.errors import InvalidValueError, OutputError, RunError
from bamsearch.files import whole_file
from bamsearch.records import Budget, Design, Insertion, Run, Trial
from bamsearch.reporting.content import make_report
from bamsearch.reporting.documents import RunDocument
from bamsearch.study.folder import (
    ENDED,
    REPORTED,
    STARTED,
    RunFolder,
    all_folders,
    find_folder,
    named_run_folder,
    new_folder,
)


@pytest.fixture
def run(engine) -> Run:
    return replace(engine.planned().run, name="run")


@pytest.fixture
def folder(run, runs) -> RunFolder:
    run_folder = RunFolder(runs / "run")
    run_folder.create(run)
    return run_folder


def a_trial(number: int, score: float | None = 1.0) -> Trial:
    design = Design("resnet18", (3, 64, 64), (Insertion("layer1", 16, 4),))
    return Trial(number, design, score, 10, 20)


def full_disk(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_appended_is_read(folder):
    folder.append([(None, a_trial(0)), ("base", a_trial(0, 2.5))])
    folder.append([])
    folder.append([(None, a_trial(1))])
    record = folder.read_record()
    assert record.trials == (a_trial(0), a_trial(1))
    assert record.baselines == (("base", a_trial(0, 2.5)),)


@pytest.mark.parametrize(
    "spoiled",
    [
        b'{"reference": null, "num',
        b"\0\0\0\0\0\0",
        b"\0\0\0\0\n\0\0\n",
        b'{"reference": null}',
        b"\xff\xfe\n",
        b"17\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_spoiled_end_is_passed_over_and_taken_away(folder, spoiled):
    folder.append([(None, a_trial(0)), (None, a_trial(1))])
    path = folder.path / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + spoiled)
    assert folder.read_record().trials == (a_trial(0), a_trial(1))
    folder.repair()
    assert path.read_bytes() == whole
    folder.append([(None, a_trial(2))])
    assert len(folder.read_record().trials) == 3


def test_a_corrupt_middle_is_an_error_until_it_is_repaired(folder):
    folder.append([(None, a_trial(n)) for n in range(3)])
    path = folder.path / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[2])
    with pytest.raises(RunError, match=r"line 2 is not a trial: 'bamsearch search --resume run'"):
        folder.read_record()
    folder.repair()
    assert path.read_bytes() == lines[0]


def test_lines_that_are_not_trials(folder):
    path = folder.path / "trials.jsonl"
    for line in ({}, {"reference": None}, {"reference": None, "design": 3}):
        path.write_text(json.dumps(line) + "\n")
        with pytest.raises(RunError, match=r"line 1 .*; fix or remove"):
            folder.read_record()


def test_half_a_line_on_a_full_disk_is_taken_back(folder, monkeypatch):
    folder.append([(None, a_trial(0))])
    before = (folder.path / "trials.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OutputError, match=r"No space left on device.*`resume`"):
            folder.append([(None, a_trial(1))])
    assert (folder.path / "trials.jsonl").read_bytes() == before
    folder.append([(None, a_trial(2))])
    assert [trial.number for trial in folder.read_record().trials] == [0, 2]


def test_a_file_is_there_whole_or_as_it_was(folder, monkeypatch):
    before = folder.read_run()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OutputError, match=r"run\.json cannot be written: No space"):
            folder.write_run(replace(before, trials=999))
    assert folder.read_run() == before
    assert sorted(path.name for path in folder.path.iterdir()) == ["run.json"]


def test_drafts_of_a_process_that_was_killed_go(folder):
    folder.write_best(a_trial(0).design)
    draft = folder.path / "best" / ".writing-design.json"
    draft.write_text("{")
    folder.repair()
    assert not draft.exists()
    assert Design.from_json((folder.path / "best" / "design.json").read_text())


def test_files_are_as_open_as_the_user_wants(folder):
    umask = os.umask(0)
    os.umask(umask)
    assert (folder.path / "run.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_one_search_at_a_time(folder):
    other = RunFolder(folder.path)
    assert not folder.busy()
    with folder.locked():
        assert other.busy()
        with (
            pytest.raises(RunError, match="another search is running on run run") as raised,
            other.locked(),
        ):
            pass
        assert raised.value.exit_code == 2
    assert not folder.busy()
    with other.locked():
        pass


def test_the_lock_goes_with_a_killed_process(preloaded, folder):
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bamsearch.study.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [preloaded / "python", "-c", script, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert folder.busy()
        process.kill()
        process.stdout.read()  # until the process behind it is gone too
    assert process.returncode == -signal.SIGKILL
    with folder.locked():
        pass


def test_a_folder_is_created_once(runs, run):
    folder = RunFolder(runs / "a" / "b")
    folder.create(run)
    with pytest.raises(OutputError, match=r"already exists: continue with `resume=b`"):
        folder.create(run)
    (runs / "file").touch()
    with pytest.raises(OutputError, match="cannot be created"):
        RunFolder(runs / "file" / "run").create(run)


def test_a_folder_appears_with_its_run(runs, run, monkeypatch):
    (runs / "empty").mkdir()

    def rename(draft, target):
        assert (draft / "run.json").read_text() == run.to_json()
        full_disk(0)

    for name in ("new", "empty"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", rename)
            with pytest.raises(OutputError, match="cannot be created: No space left"):
                RunFolder(runs / name).create(run)
        assert not (runs / name).exists()
        RunFolder(runs / name).create(run)
        assert RunFolder(runs / name).read_run().to_json() == run.to_json()


def test_a_draft_is_not_a_run(runs, run):
    RunFolder(runs / ".writing-run-1").create(run)
    assert all_folders(runs) == []


def test_another_run_in_the_folder(folder, run):
    """There is a run at every moment: a kill while files are removed leaves the earlier run."""
    folder.append([(None, a_trial(0))])
    (folder.path / "mine.txt").touch()
    folder.restart(replace(run, trials=3))
    assert folder.read_record().trials == ()
    assert folder.read_run().trials == 3
    assert (folder.path / "mine.txt").exists()


def test_runs_without_a_name_get_the_next_number(runs, run):
    budgets = (Budget("gflops", "8", 8 * 10**9, 7 * 10**9),)
    summary = replace(run.summary, model="resnet101")
    eight = replace(run, summary=summary, budgets=budgets)
    names = [new_folder(eight, runs).name for _ in range(2)]
    assert names == ["resnet101-8g-001", "resnet101-8g-002"]
    assert RunFolder(runs / names[1]).read_run().name == names[1]
    free = replace(run, summary=replace(summary, model="timm:resnet50"), budgets=())
    assert new_folder(free, runs).name == "resnet50-free-001"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a b", "/x"])
def test_invalid_names(name):
    with pytest.raises(InvalidValueError, match="cannot be called"):
        named_run_folder(name)


def test_a_run_is_found_by_name_and_by_path(folder, monkeypatch):
    runs = folder.path.parent / "runs"
    runs.mkdir()
    folder.path.rename(runs / "run")
    monkeypatch.chdir(runs.parent)
    for name in ("run", "runs/run", str(runs / "run")):
        assert find_folder(name).read_run().name == "run"
    assert [folder.name for folder in all_folders()] == ["run"]
    for name in ("", "other", "runs"):
        with pytest.raises(RunError, match="no run is called"):
            find_folder(name)
    assert find_folder("runs/run/.").name == "run"


def test_the_log_has_dates(folder):
    folder.log("one")
    folder.log("two")
    first, second = (folder.path / "log.txt").read_text().splitlines()
    assert first.endswith("+00:00 one")
    assert second.endswith("+00:00 two")


def test_the_best_is_written_only_when_it_changes(folder):
    folder.write_best(a_trial(0).design)
    path = folder.path / "best" / "design.json"
    written = path.stat().st_ino
    folder.write_best(a_trial(0).design)
    assert path.stat().st_ino == written
    folder.write_best(Design("resnet18", (3, 64, 64), (Insertion("layer2", 16, 4),)))
    assert Path(path).stat().st_ino != written


def test_a_run_with_a_training_left_over_has_not_ended(folder):
    for text in (STARTED, ENDED, REPORTED):
        assert not folder.ended
        folder.log(text)
    assert folder.ended
    training = folder.path / "train" / "0-00000000"
    training.mkdir(parents=True)
    (training / ".lock").touch()
    assert not folder.ended
    folder.remove_trainings()
    assert folder.ended


def test_a_new_report_is_there_whole_or_not_at_all(folder, monkeypatch):
    report, target = make_report(folder.read_record(), "run"), folder.path / "above" / "report"
    write = Path.write_bytes

    def full(path, content):
        return full_disk(0) if path.name == "report.json" else write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="No space left"):
            RunDocument(report).write(target, ["md", "json"])
    assert not list(target.parent.iterdir())
    RunDocument(report).write(target, ["json"])
    assert [path.name for path in target.iterdir()] == ["report.json"]


def test_a_line_that_is_there_twice_counts_once(folder):
    folder.append([(None, a_trial(0)), ("base", a_trial(0, 2.5))])
    path = folder.path / "trials.jsonl"
    path.write_bytes(2 * path.read_bytes())
    record = folder.read_record()
    assert record.trials == (a_trial(0),)
    assert record.baselines == (("base", a_trial(0, 2.5)),)


def test_a_restart_removes_files_of_the_run_alone(folder, run):
    folder.append([(None, a_trial(0))])
    folder.write_best(a_trial(0).design)
    folder.log("one")
    training = folder.path / "verify" / "0-base"
    training.mkdir(parents=True)
    (training / "checkpoint.pt").touch()
    mine = [folder.path / "thesis.tex", folder.path / "best" / "notes.md"]
    for path in mine:
        path.write_text("mine")
    folder.restart(run)
    files = {path for path in folder.path.rglob("*") if path.is_file()}
    assert files - {folder.path / "lock"} == {*mine, folder.path / "run.json"}
    assert not (folder.path / "verify").exists()


@pytest.mark.parametrize("name", ["log.txt", "train", "best/design.json", "report/report.md"])
def test_nothing_is_written_or_removed_through_a_link(folder, runs, run, name):
    (runs / "outside").mkdir()
    (runs / "outside" / "checkpoint.pt").write_text("mine")
    link = folder.path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(runs / "outside")
    for act in (partial(folder.restart, run), folder.locked().__enter__):
        with pytest.raises(OutputError, match=f"{link} is a symbolic link"):
            act()
    assert (runs / "outside" / "checkpoint.pt").read_text() == "mine"


def test_a_file_takes_the_place_of_a_link(folder, runs):
    (runs / "outside").write_text("mine")
    (folder.path / "learned.json").symlink_to(runs / "outside")
    with whole_file(folder.path / "learned.json") as file:
        file.write(b"ours")
    assert (runs / "outside").read_text() == "mine"
    assert not (folder.path / "learned.json").is_symlink()


def test_the_report_s_files_are_known(folder):
    """What --force removes is what a report has."""
    folder.append([(None, a_trial(0))])
    RunDocument(make_report(folder.read_record(), "run"), folder.path).write()
    folder.restart(folder.read_run())
    assert not (folder.path / "report").exists()
