"""Code that a run or a design names: said before it is executed, refused once it has changed."""

import json
import sys
from pathlib import Path

import pytest

NET = """
from torch import nn
def make(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""
SEARCH = ["search", "net.py:make", "--space", "blank.toml", "--no-random", "--trials", "2"]
DIGITS = ["--data", "digits", "--epochs", "1", "--device", "cpu"]
SPACE = 'name = "blank"\nsites = "stages"\nreductions = [4, 8]\ndilations = [1, 2]\n'


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("blank.toml").write_text(SPACE)


@pytest.fixture
def ran(bamsearch_cli):
    """Runs a line that must end well."""

    def run(*line: str) -> str:
        result = bamsearch_cli(*line)
        assert result.exit_code == 0, result.stderr
        return result.stderr

    return run


@pytest.fixture
def refused(bamsearch_cli):
    def run(*line: str) -> str:
        result = bamsearch_cli(*line)
        assert result.exit_code == 2, result.stderr
        return result.stderr.splitlines()[-1]

    return run


def edit(name="net.py"):
    Path(name).write_text(Path(name).read_text() + "\n# edited\n")


def test_a_search_of_an_edited_model_is_not_resumed(ran, refused):
    line = [*SEARCH, "--input-size", "16", "--score", "params", "--name", "a"]
    ran(*line)
    assert "executes code of net.py" in ran("search", "--resume", "a")
    edit()
    said = refused("search", "--resume", "a", "--trials", "3")
    assert said.startswith(
        "bamsearch: error: model net.py:make has changed since run a started: it "
    )
    assert said.endswith("start a new search with another --name, or with --force under this name")
    assert "--resume continues a run" in refused("search", "--resume", "a", "--force")
    Path("net.py").write_text(NET)
    ran("search", "--resume", "a", "--trials", "3")


def test_another_version_of_a_package_is_another_model(ran, refused):
    line = ["search", "bamsearch.examples:resnet20", "--input-size", "8", "--budget-gflops", "+9%"]
    line += ["--score", "params", "--trials", "2", "--no-random", "--name", "a"]
    ran(*line)
    path = Path("runs/a/run.json")
    content = json.loads(path.read_text())
    now = content["sources"]["model"]
    content["sources"]["model"] = "bamsearch 0.0.1"
    path.write_text(json.dumps(content))
    assert f"it was bamsearch 0.0.1 and is now {now}; " in refused("search", "--resume", "a")
    ran(*line, "--force")
    assert json.loads(path.read_text())["sources"]["model"] == now


def test_a_search_by_an_edited_score_is_not_resumed(ran, refused):
    Path("score.py").write_text("def score(module, design):\n    return 1.0\n")
    line = [*SEARCH, "--input-size", "16", "--score", "score.py:score", "--name", "a"]
    ran(*line)
    assert "executes code of net.py, score.py" in ran("search", "--resume", "a", "--dry-run")
    edit("score.py")
    assert "score score.py:score has changed since run a started" in refused(
        "search", "--resume", "a"
    )


def test_a_base_that_is_another_network_is_refused(ran, refused):
    """The model's file is as it was, and what it imports is not."""
    Path("width.py").write_text("WIDTH = 8\n")
    Path("net.py").write_text(NET.replace("3, 8, 3", "3, WIDTH, 3").replace("(8, 16", "(WIDTH, 16"))
    Path("net.py").write_text("from width import WIDTH\n" + Path("net.py").read_text())
    ran(*SEARCH, "--input-size", "16", "--score", "params", "--name", "a")
    Path("width.py").write_text("WIDTH = 12\n")
    sys.modules.pop("width")
    said = refused("search", "--resume", "a")
    sys.modules.pop("width")
    assert "net.py:make has changed since run a started: it had 1,562 parameters and " in said


def test_a_run_of_an_older_version_is_resumed(ran):
    ran(*SEARCH, "--input-size", "16", "--score", "params", "--name", "a")
    path = Path("runs/a/run.json")
    content = json.loads(path.read_text())
    del content["sources"]
    path.write_text(json.dumps(content))
    edit()
    ran("search", "--resume", "a", "--trials", "3")


def test_a_space_of_the_same_name_and_other_content_is_refused(ran, refused):
    ran(*SEARCH, "--input-size", "16", "--score", "params", "--name", "a")
    ran("search", "--resume", "a", "--space", "blank.toml")
    Path("blank.toml").write_text(SPACE.replace("[4, 8]", "[2, 4]"))
    said = refused("search", "--resume", "a", "--space", "blank.toml")
    assert "run a has --space blank with other content, not blank.toml" in said


def test_a_training_of_an_edited_model_is_not_resumed(bamsearch_cli, ran, refused):
    ran("insert", "net.py:make", "--data", "digits", "--sites", "stages", "-o", "des")
    assert "executes code of net.py" in ran("train", "des", *DIGITS, "--dry-run")
    ran("train", "des", *DIGITS, "-o", "out")
    assert "executes code of net.py" in ran("train", "--resume", "out", "--device", "cpu")
    for line in (["profile", "des"], ["export", "des", "--format", "pt2", "--dry-run"]):
        assert bamsearch_cli(*line).stderr.startswith("executes code of net.py\n")
    edit()
    said = refused("train", "--resume", "out", "--device", "cpu")
    assert "the training in out has model's source sha256" in said
    assert said.endswith("restore the original, or train again in another folder")


def test_the_same_training_again_resumes_what_was_interrupted(ran, refused):
    ran("train", "net.py:make", *DIGITS, "-o", "out")
    assert "out already has a training" in refused("train", "net.py:make", *DIGITS, "-o", "out")
    # killed before its last files
    for name in ("model.safetensors", "design.json"):
        Path("out", name).unlink()
    assert "already has a training" in refused(
        "train", "net.py:make", "--data", "digits", "-o", "out"
    )
    rows = Path("out/metrics.csv").read_text()
    ran("train", "net.py:make", *DIGITS, "-o", "out")
    assert Path("out/metrics.csv").read_text() == rows
    # killed between its last two files
    Path("out/design.json").unlink()
    ran("train", "net.py:make", *DIGITS, "-o", "out")
    assert Path("out/design.json").is_file()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--batch-size", "1" + 400 * "0"), ("--lr", "1e308"), ("--epochs", "9e99")],
)
def test_numbers_that_are_too_large_are_one_line(refused, option, value):
    value = str(int(float(value))) if option == "--epochs" else value
    said = refused("train", "net.py:make", "--data", "digits", option, value)
    assert f"'{option}': " in said
    assert "is not in the range" in said


def test_a_search_whose_designs_all_fail_is_an_error(refused):
    Path("bad.py").write_text("def score(module, design):\n    raise ValueError('never')\n")
    line = ["--input-size", "16", "--score", "bad.py:score", "--name", "a"]
    assert "all 2 designs failed: bad.py:score failed on" in refused(*SEARCH, *line)


@pytest.mark.parametrize(
    "line",
    [
        (*SEARCH, *DIGITS[:4], "--name", "a"),
        ("train", "net.py:make", *DIGITS, "-o", "runs/a"),
        ("train", "net.py:make", *DIGITS, "--dry-run"),
        ("audit", "net.py:make", *DIGITS[:2], "--designs", "8", "--seeds", "2", "-o", "runs/a"),
    ],
)
def test_a_missing_extra_is_noticed_before_a_plan_or_a_folder(bamsearch_cli, monkeypatch, line):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    result = bamsearch_cli(*line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "bamsearch: error: lightning-fabric is not installed: pip install 'bamsearch[train]'"
    ]
    assert not Path("runs").exists()


def test_a_missing_driver_is_noticed_before_the_folder_is_made(bamsearch_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    url = "postgresql+psycopg://127.0.0.1:1/db"
    result = bamsearch_cli(*SEARCH, "--input-size", "16", "--storage", url, "--name", "a")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "psycopg is not installed: pip install 'bamsearch[cluster]'" in result.stderr
    assert not Path("runs").exists()
