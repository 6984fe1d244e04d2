"""Records from before hashes of image folders were over contents are continued."""

import json
from pathlib import Path

import pytest
from PIL import Image

from bamsearch.data import loading
from bamsearch.records import Run

NET = f"{Path(__file__).parents[1] / 'training' / 'nets.py'}:small"
SHORT = ("--recipe", "short", "--epochs", "1")


@pytest.fixture
def image_folder(tmp_path, monkeypatch):
    """A folder of two classes; the working directory is beside it."""
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGB", (8, 8), (90 * label, 9 * number, 0))
            image.save(tmp_path / "own" / name / f"{number}.bmp")
    return tmp_path / "own"


@pytest.fixture
def before(monkeypatch, bamsearch_cli):
    """``before(*line)`` runs a command that hashes and splits as was done before."""

    def parts(opened, seed, recorded, value_range):
        drawn = loading._parts(opened, seed)
        return drawn, loading._hash(opened, drawn, seed)

    def run(*line):
        with monkeypatch.context() as patched:
            patched.setattr(loading, "_read_parts", parts)
            result = bamsearch_cli(*line)
        assert result.exit_code == 0, result.stderr
        return result

    return run


def run_in(image_folder) -> Run:
    return Run.from_json((image_folder.parent / "runs/old/run.json").read_text())


def test_a_search_that_trains(before, bamsearch_cli, image_folder):
    data = ("--data", f"imagefolder:{image_folder}", "--input-size", "8")
    before("search", NET, *data, "--score", "train", "--trials", "2", "--name", "old", *SHORT)
    recorded = run_in(image_folder).data
    assert not recorded.hash.startswith("c:")
    resume = ("search", "--resume", "old", "--trials")
    for line in (("3",), ("4", *data)):
        result = bamsearch_cli(*resume, *line)
        assert result.exit_code == 0, result.stderr
    assert run_in(image_folder).data == recorded
    Image.new("RGB", (9, 9)).save(image_folder / "ant" / "0.bmp")
    result = bamsearch_cli(*resume, "5")
    assert result.exit_code == 2
    assert f"was {recorded.hash}): restore it, or start again" in result.stderr


def test_evidence(before, bamsearch_cli, image_folder):
    data = ("--data", f"imagefolder:{image_folder}", "--input-size", "8")
    before("search", NET, *data, "--score", "params", "--trials", "2", "--name", "old")
    verify = ("verify", "old", "--seeds", "2", "--looks", "1", *SHORT)
    before(*verify)
    # The same plan: nothing is trained again, and it is not exploratory.
    again = bamsearch_cli(*verify)
    assert again.exit_code == 0, again.stderr
    assert "xploratory" not in again.stdout + again.stderr
    evidence = json.loads((image_folder.parent / "runs/old/evidence.json").read_text())
    assert evidence["data_hash"] == run_in(image_folder).data.hash
    assert len(evidence["plans"]) == 1


def test_a_training(before, bamsearch_cli, image_folder):
    line = (
        "train",
        NET,
        "--data",
        f"imagefolder:{image_folder}",
        "--recipe",
        "short",
        "--epochs",
        "1",
    )
    before(*line, "-o", "old")
    result = bamsearch_cli("train", "--resume", "old")
    assert result.exit_code == 0, result.stderr


def test_an_audit(before, bamsearch_cli, image_folder):
    line = ("audit", NET, "--data", f"imagefolder:{image_folder}", "--designs", "8", "--seeds", "2")
    line = (*line, "--scores", "params", "--input-size", "8", *SHORT)
    before(*line)
    (folder,) = (image_folder.parent / "audits").iterdir()
    trained = (folder / "trainings.jsonl").read_text().splitlines()
    (folder / "trainings.jsonl").write_text("\n".join(trained[:-2]) + "\n")
    result = bamsearch_cli(*line, "--jobs", "2")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in (image_folder.parent / "audits").iterdir()] == [folder.name]
    again = (folder / "trainings.jsonl").read_text().splitlines()
    assert again[:-2] == trained[:-2]
    right = [{json.loads(text)["right"] for text in part[-2:]} for part in (trained, again)]
    assert right[0] == right[1]
