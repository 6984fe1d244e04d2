"""A run names its files relative to where it started, and works from any current folder."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

import bamsearch
from bamsearch.errors import RunError
from bamsearch.records.run_files import read_run
from bamsearch.training.recipe import find_recipe

NET = (Path(__file__).parents[1] / "training" / "nets.py").read_text()
SCORE = "def more(design):\n    return len(design.insertions)\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, bamsearch_cli) -> Path:
    """A project with a run."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "net.py").write_text(NET)
    (folder / "score.py").write_text(SCORE)
    line = ("search", "net.py:small", "--data", "digits", "--score", "score.py:more")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = bamsearch_cli(*line, "--trials", "3", "--no-random", "--name", "run")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def project(prepared, tmp_path, monkeypatch) -> Path:
    """A copy of it, and another current folder that has other files of the same names."""
    folder = Path(shutil.copytree(prepared, tmp_path / "project"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("net.py", "score.py"):
        Path(name).write_text("raise RuntimeError('another project')\n")
    return folder


def names(folder: Path) -> list[str]:
    run = json.loads((folder / "runs/run/run.json").read_text())
    best = json.loads((folder / "runs/run/best/design.json").read_text())
    return [run["summary"]["model"], run["score"], best["model"], run["started_in"]]


def test_every_command_takes_a_run_from_another_folder(project, bamsearch_cli):
    as_recorded = ["net.py:small", "score.py:more", "net.py:small", "../.."]
    assert names(project) == as_recorded
    run = str(project / "runs/run")
    report = bamsearch_cli("report", run, "--json")
    assert json.loads(report.stdout)["model"] == "net.py:small"
    assert bamsearch_cli("search", "--resume", run, "--trials", "5").exit_code == 0
    command = ("search", "../project/net.py:small", "--score", "../project/score.py:more")
    assert bamsearch_cli(*command, "--resume", run, "--trials", "6").exit_code == 0
    assert names(project) == as_recorded
    design = bamsearch.load(run)
    assert design(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    bamsearch.load(f"{run}/best")
    exported = bamsearch_cli("export", run, "-o", "out.pt2")
    assert exported.exit_code == 0, exported.stderr
    verify = ("verify", run, "--recipe", "short", "--epochs", "1", "--seeds", "2")
    verified = bamsearch_cli(*verify)
    assert verified.exit_code == 0, verified.stderr
    bamsearch.load(next((project / "runs/run/verify").glob("*-found")))


def test_a_project_moves_as_a_whole(project, tmp_path, monkeypatch, bamsearch_cli):
    moved = tmp_path / "moved"
    shutil.move(project, moved)
    assert bamsearch_cli("search", "--resume", str(moved / "runs/run")).exit_code == 0
    monkeypatch.chdir(moved)
    assert read_run(Path("runs/run")).model == "net.py:small"
    assert bamsearch_cli("search", "--resume", "run", "--trials", "4").exit_code == 0


def test_an_older_run_has_names_of_the_current_folder(project, monkeypatch):
    path = project / "runs/run/run.json"
    run = json.loads(path.read_text())
    del run["started_in"]
    path.write_text(json.dumps(run))
    assert read_run(path.parent).model == "net.py:small"
    monkeypatch.chdir(project)
    assert bamsearch.load("run")(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_folder_of_data_moves_too(project, monkeypatch):
    (project / "images").mkdir()
    path = project / "runs/run/run.json"
    run = json.loads(path.read_text())
    run["data"]["name"] = "imagefolder:images"
    path.write_text(json.dumps(run))
    assert read_run(path.parent).data.name == "imagefolder:../project/images"
    monkeypatch.chdir(project)
    assert read_run(path.parent).data.name == "imagefolder:images"


def test_other_code_is_still_refused(project):
    (project / "score.py").write_text(SCORE + "# changed\n")
    with pytest.raises(RunError, match=r"project/score\.py:more has changed"):
        bamsearch.search(
            "../project/net.py:small", output=project / "runs/run", trials=9, resume=True
        )


def test_a_search_that_trained_says_that_its_weights_are_random(project, caplog):
    path = project / "runs/run/run.json"
    with caplog.at_level(logging.WARNING):
        bamsearch.load(path.parent)
    assert caplog.messages == []
    run = json.loads(path.read_text())
    run |= {"score": "train", "recipe": find_recipe("short").to_dict()}
    path.write_text(json.dumps(run))
    with caplog.at_level(logging.WARNING):
        bamsearch.load(path.parent)
    assert caplog.messages == ["run run stores no weights: those of its design are random"]
