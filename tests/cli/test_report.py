"""``bamsearch report`` over a real run, and over what is not a run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import bamsearch
from bamsearch.api.search import search
from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.run_files import read_record

FILES = ["report.md", "report.html", "trials.csv", "report.json"]
CHARTS = ["network.svg", "pareto.svg", "curve.svg"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder with runs/one and runs/two."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, seed in (("one", 0), ("two", 1)):
            search(
                "resnet18",
                input_size=(64, 64),
                budget_gflops="+1%",
                score="params",
                trials=12,
                seed=seed,
                output=f"runs/{name}",
            )
    return folder


@pytest.fixture
def here(prepared, tmp_path, monkeypatch) -> Path:
    """The current folder, with a copy of both runs, without their reports."""
    shutil.copytree(prepared / "runs", tmp_path / "runs", ignore=lambda *_: ["report"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_prints_the_summary_and_writes_all_formats(bamsearch_cli, here):
    result = bamsearch_cli("report", "one")
    assert result.exit_code == 0, result.stderr
    assert "12 scored · 0 over budget · 0 failed" in result.stdout
    assert "EVIDENCE  none: nothing was trained" in result.stdout
    assert "image ─ stem ─ layer1" in result.stdout
    for name in FILES + CHARTS:
        assert (here / "runs/one/report" / name).is_file()
    assert "Written   runs/one/report/report.md" in result.stderr
    table = pd.read_csv(here / "runs/one/report/trials.csv")
    record = read_record(here / "runs/one")
    assert len(table) == len(record.trials) + len(record.baselines)
    ours = table[table.role == "trial"]["score (params)"].tolist()
    assert ours == [trial.score for trial in record.trials]


def test_the_same_record_gives_the_same_bytes(bamsearch_cli, here):
    for folder in ("a", "b"):
        assert bamsearch_cli("report", "one", "-o", folder).exit_code == 0
    for name in FILES + CHARTS:
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_without_a_name_it_is_the_newest(bamsearch_cli, here):
    (here / "runs/one/run.json").touch()
    result = bamsearch_cli("report", "-n")
    assert result.stdout.splitlines()[0] == "run one, the newest of 2"
    assert "Would write   runs/one/report/report.md" in result.stderr
    assert not (here / "runs/one/report").exists()
    # Data stays data.
    assert json.loads(bamsearch_cli("report", "--json", "-n").stdout)["run"] == "one"


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["csv"], ["trials.csv"]),
        (["md"], ["report.md", *CHARTS]),
        (["html", "json"], ["report.html", "report.json"]),
    ],
)
def test_formats_can_be_chosen(bamsearch_cli, here, formats, files):
    options = [word for format in formats for word in ("-f", format)]
    assert bamsearch_cli("report", "one", *options, "-o", "out").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(files)


@pytest.mark.parametrize("format", ["csv", "md", "json", "html"])
def test_one_format_goes_to_stdout(bamsearch_cli, here, format):
    result = bamsearch_cli("report", "one", "-f", format, "-o", "-")
    assert result.exit_code == 0
    starts = {"csv": "number,role", "md": "# resnet18", "json": "{", "html": "<!doctype html>"}
    assert result.stdout.lower().startswith(starts[format])
    assert "](network.svg)" not in result.stdout
    assert not (here / "runs/one/report").exists()
    assert not Path("-").exists()


def test_stdout_takes_one_format(bamsearch_cli, here):
    for options in ([], ["-f", "csv", "-f", "md"]):
        result = bamsearch_cli("report", "one", "-o", "-", *options)
        assert result.exit_code == 2
        assert "-o - takes one format" in result.stderr


def test_what_is_there_already_is_kept(bamsearch_cli, here):
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    result = bamsearch_cli("report", "one", "-o", "mine")
    assert result.exit_code == 2
    assert "mine exists already" in result.stderr
    assert bamsearch_cli("report", "one", "-o", "mine", "--force", "-f", "md").exit_code == 0
    assert Path("mine/letter.txt").read_text() == "dear"
    # The run's own folder is overwritten each time.
    assert bamsearch_cli("report", "one", "-f", "md").exit_code == 0
    assert bamsearch_cli("report", "one", "-f", "md").exit_code == 0


def test_several_runs_are_compared(bamsearch_cli, here):
    result = bamsearch_cli("report", "one", "two")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["run", "model", "space", "budget"]
    assert [line.split()[0] for line in lines[1:3]] == ["one", "two"]
    assert "scores are comparable" in result.stdout
    assert "keep  bamsearch report one two -o DIR" in result.stderr
    assert bamsearch_cli("report", "one", "two", "-o", "both").exit_code == 0
    assert sorted(path.name for path in Path("both").iterdir()) == sorted([*FILES, "curve.svg"])
    table = pd.read_csv("both/trials.csv")
    assert set(table["run"]) == {"one", "two"}
    value = json.loads(bamsearch_cli("report", "one", "two", "--json").stdout)
    assert [run["run"] for run in value["runs"]] == ["one", "two"]


@pytest.mark.parametrize("format", ["csv", "md", "json", "html"])
def test_several_runs_on_stdout(bamsearch_cli, here, format):
    result = bamsearch_cli("report", "one", "two", "-f", format, "-o", "-")
    assert result.exit_code == 0
    assert "one" in result.stdout
    assert "two" in result.stdout


def test_the_schema_is_printed(bamsearch_cli):
    schema = json.loads(bamsearch_cli("report", "--schema").stdout)
    assert schema["title"] == "bamsearch report"


def test_a_run_that_was_killed_says_so(bamsearch_cli, here):
    lines = (here / "runs/one/trials.jsonl").read_bytes()
    (here / "runs/one/trials.jsonl").write_bytes(lines[:900])
    result = bamsearch_cli("report", "one")
    assert result.exit_code == 0, result.stderr
    text = (here / "runs/one/report/report.md").read_text()
    assert "Not finished:" in text
    assert "Not finished:" in result.stdout
    (here / "runs/one/trials.jsonl").unlink()
    result = bamsearch_cli("report", "one")
    assert result.exit_code == 0, result.stderr
    assert "no design has a score yet" in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nowhere"], 2, "no run is called 'nowhere': 'bamsearch runs' lists"),
        (["one", "nowhere"], 2, "no run is called 'nowhere'"),
        (["one", "-f", "pdf"], 2, "'pdf' is not one of"),
        (["one", "-o", "runs/one/run.json"], 2, "is a file, not a folder"),
        (["one", "-o", "/proc/nowhere"], 2, "cannot be"),
    ],
)
def test_bad_input_is_one_line(bamsearch_cli, here, args, code, said):
    result = bamsearch_cli("report", *args)
    assert result.exit_code == code
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_spoiled_files_are_one_line(bamsearch_cli, here):
    (here / "runs/one/run.json").write_text("{")
    result = bamsearch_cli("report", "one")
    assert result.exit_code == 2
    assert "not a whole JSON file" in result.stderr
    (here / "runs/two/evidence.json").write_text("{}")
    result = bamsearch_cli("report", "two")
    assert result.exit_code == 2
    assert (
        "evidence.json is not a bamsearch evidence file: key 'bamsearch_evidence'" in result.stderr
    )


def test_no_run_at_all(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bamsearch_cli("report")
    assert result.exit_code == 3
    assert "there are no runs below runs/ yet" in result.stderr


def test_neither_torch_nor_optuna_is_loaded(here):
    program = (
        "import sys; from bamsearch.cli.main import main\n"
        "try: main(['report', 'one'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'torchvision', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_search_writes_the_report_itself(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["search", "resnet18", "--input-size", "64", "--score", "params", "--trials", "3"]
    result = bamsearch_cli(*line, "--no-random", "--name", "new")
    assert result.exit_code == 0, result.stderr
    assert "runs/new/report/report.html" in result.stderr
    for name in FILES + CHARTS:
        assert Path("runs/new/report", name).is_file()


def test_a_search_that_is_interrupted_leaves_a_report(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "calls = []\n"
        "def score(module, design):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        raise KeyboardInterrupt\n"
        "    return float(len(design.insertions))\n"
    )
    line = ["search", "resnet18", "--input-size", "32", "--score", "mine.py:score"]
    result = bamsearch_cli(*line, "--trials", "5", "--no-random", "--name", "cut")
    assert result.exit_code == 130
    assert "Not finished: 1 of 5 trials" in Path("runs/cut/report/report.md").read_text()


def test_a_report_that_cannot_be_written_is_a_warning(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bamsearch.reporting.documents.REPORT_FOLDER", "run.json/report")
    line = ["search", "resnet18", "--input-size", "64", "--score", "params", "--trials", "3"]
    result = bamsearch_cli(*line, "--no-random", "--name", "new")
    assert result.exit_code == 0
    assert "bamsearch: warning: no report: " in result.stderr
    assert read_record(Path("runs/new")).finished


def test_nothing_is_written_through_a_link(bamsearch_cli, here):
    Path("outside").mkdir()
    Path("outside/letter.txt").write_text("dear")
    shutil.rmtree("runs/one/report", ignore_errors=True)
    Path("runs/one/report").symlink_to(Path("outside").absolute())
    result = bamsearch_cli("report", "one", "-f", "md")
    assert result.exit_code == 2
    assert "runs/one/report is a symbolic link" in result.stderr
    assert [path.name for path in Path("outside").iterdir()] == ["letter.txt"]
    Path("runs/one/report").unlink()
    Path("runs/one/report").mkdir()
    Path("runs/one/report/report.md").symlink_to(Path("outside/letter.txt").absolute())
    assert bamsearch_cli("report", "one", "-f", "md").exit_code == 2
    assert Path("outside/letter.txt").read_text() == "dear"


def test_a_run_of_the_former_score_supernet_is_reported(bamsearch_cli, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "old"
    folder.mkdir(parents=True)
    source = Path(__file__).parents[2] / "reports" / "fashion-mnist-light"
    content = json.loads((source / "run.json").read_text())
    content |= {"score": "supernet", "supernet": {"warmup": 1}, "name": "old"}
    (folder / "run.json").write_text(json.dumps(content))
    shutil.copy(source / "trials.jsonl", folder)
    monkeypatch.chdir(tmp_path)
    result = bamsearch_cli("report", "runs/old")
    assert result.exit_code == 0, result.stderr
    assert "weight-sharing supernet" in (folder / "report" / "report.md").read_text()


def test_python_makes_the_same_report(bamsearch_cli, here):
    report = bamsearch.report("one", output="mine", formats=["md", "csv"])
    assert sorted(path.name for path in Path("mine").iterdir()) == sorted(
        ["report.md", "trials.csv", *CHARTS]
    )
    for format in ("md", "csv", "json"):
        printed = bamsearch_cli("report", "one", "-f", format, "-o", "-").stdout_bytes
        assert printed == report.text(format).encode()
    assert report.value() == json.loads(bamsearch_cli("report", "one", "--json").stdout)
    assert report._repr_html_().startswith("<!doctype html>")
    assert str(report) == report.text("md")
    assert "**Not known: scores only, no training evidence.**" in repr(report)
    assert len(repr(report).splitlines()) == 11
    both = bamsearch.report("one", Path("runs/two"))
    assert both.text("md") == bamsearch_cli("report", "one", "two", "-f", "md", "-o", "-").stdout
    with pytest.raises(InvalidValueError, match="a report of several runs needs a folder"):
        both.write()
    with pytest.raises(RunError, match="no run is called 'three'"):
        bamsearch.report("three")
    with pytest.raises(InvalidValueError, match="runs must be"):
        bamsearch.report(3)
