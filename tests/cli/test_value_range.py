"""--value-range goes from the command line into records, and back out of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bamsearch.records import Run

NET = f"{Path(__file__).parents[1] / 'training' / 'nets.py'}:small"
SHORT = ("--recipe", "short", "--epochs", "1")
RANGE = ("--value-range", "0:4095")


@pytest.fixture
def image_data(tmp_path, monkeypatch):
    """Two classes of twelve images of 12 bits in 16; the working directory is beside them."""
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(12):
            values = np.full((8, 8), 4095 - 160 * (2 * number + label), np.uint16)
            Image.fromarray(values).save(tmp_path / "own" / name / f"{number}.png")
    return f"imagefolder:{tmp_path / 'own'}"


def ok(result):
    assert result.exit_code == 0, result.stderr
    return result


def refused(result, *texts):
    assert (result.exit_code, result.stdout) == (2, ""), result.stderr
    for text in texts:
        assert text in result.stderr


@pytest.mark.parametrize("command", ["train", "search", "audit"])
def test_nothing_is_started_without_a_range(bamsearch_cli, image_data, tmp_path, command):
    refused(
        bamsearch_cli(command, NET, "--data", image_data, *SHORT),
        "ant/0.png has 16-bit values, 415 to 4095 in 24 such images",
        "--value-range 0:4095",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize(
    "text", ["0", "0:1:2", "a:b", "5:5", "9:1", "0:inf", "nan:1", ":", "0:1e999"]
)
@pytest.mark.parametrize("command", ["train", "search", "audit", "verify", "attention"])
def test_what_is_not_a_range(bamsearch_cli, command, text):
    words = [NET, "a.png"] if command == "attention" else [NET]
    refused(bamsearch_cli(command, *words, "--value-range", text), f"{text!r} is not LO:HI")


def test_a_range_needs_data(bamsearch_cli):
    refused(bamsearch_cli("search", NET, *RANGE), "--value-range requires data", "--data NAME")


def test_a_training_resumes_with_its_range(bamsearch_cli, image_data):
    ok(bamsearch_cli("train", NET, "--data", image_data, *RANGE, *SHORT, "-o", "out"))
    for words in ((), ("--data", image_data)):
        ok(bamsearch_cli("train", "--resume", "out", *words))
    result = bamsearch_cli("train", "--resume", "out", "--value-range", "0:4000")
    assert result.exit_code == 2
    assert "value range [0.0, 4095.0], not [0.0, 4000.0]: omit this option" in result.stderr


def test_a_search_resumes_with_its_range(bamsearch_cli, image_data, tmp_path):
    data = ("--data", image_data, "--input-size", "8")
    ok(bamsearch_cli("search", NET, *data, *RANGE, *SHORT, "--trials", "2", "-o", "run"))
    run = Run.from_json((tmp_path / "run/run.json").read_text())
    assert run.data.value_range == (0, 4095)
    resume = ("search", "--resume", "run", "--trials", "3")
    for words in ((), data, (*data, *RANGE)):
        ok(bamsearch_cli(*resume, *words))
    refused(bamsearch_cli(*resume, *data, "--value-range", "1:4095"), "values 0:4095), not ")


def test_verify_and_audit_take_the_range_of_the_run(bamsearch_cli, image_data, tmp_path):
    data = ("--data", image_data, "--input-size", "8")
    params = ("--score", "params", "--trials", "2")
    ok(bamsearch_cli("search", NET, *data, *RANGE, *params, "-o", "run"))
    run = Run.from_json((tmp_path / "run/run.json").read_text())
    verify = ("verify", "run", "--seeds", "2", "--looks", "1", *SHORT)
    ok(bamsearch_cli(*verify))
    again = ok(bamsearch_cli(*verify, "--data", image_data))
    assert "xploratory" not in again.stdout + again.stderr
    evidence = json.loads((tmp_path / "run/evidence.json").read_text())
    assert evidence["data_hash"] == run.data.hash
    words = ("--designs", "8", "--seeds", "2", "--scores", "params", *SHORT, "-o", "checked")
    result = ok(bamsearch_cli("audit", "run", *words, "--jobs", "2"))
    audit = json.loads((tmp_path / "checked/audit.json").read_text())
    assert audit["data"]["value_range"] == [0, 4095]
    assert audit["data"]["hash"] == run.data.hash
    assert "bamsearch search" not in result.stderr or "--value-range 0:4095" in result.stderr


def test_photographs(bamsearch_cli, image_data, tmp_path):
    ok(bamsearch_cli("insert", NET, "--input-size", "32", "-o", "design"))
    line = ("attention", "design", "own/ant/0.png")
    refused(bamsearch_cli(*line), "own/ant/0.png has 16-bit values, 4095 to 4095")
    shown = ok(bamsearch_cli(*line, *RANGE))
    assert "--value-range 0:4095 -o maps" in shown.stderr
    Image.new("RGB", (9, 9)).save(tmp_path / "eight.png")
    ok(bamsearch_cli(*line, "eight.png", *RANGE))
    refused(bamsearch_cli("attention", "design", "eight.png", *RANGE), "leave it out")
