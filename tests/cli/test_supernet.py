"""``bamsearch search --score supernet``: what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bamsearch.cli.console import Console
from bamsearch.cli.search_live import SearchView
from bamsearch.data.loading import load_data
from bamsearch.records import Trial
from bamsearch.records.run_files import read_run
from bamsearch.searching.request import Request, plan_search
from bamsearch.training.progress import Progress
from bamsearch.training.recipe import find_recipe

MODEL = f"{Path(__file__).parents[1] / 'training' / 'nets.py'}:small"
LINE = ["search", MODEL, "--data", "digits", "--score", "supernet", "--epochs", "1"]
OPTIONS = ["--supernet", "paths=0", "--supernet", "recalibration=1"]
SHORT = ["--trials", "2", "--sampler", "gp", "--no-random"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_search_says_what_its_scores_are_and_goes_on_as_it_was(bamsearch_cli):
    result = bamsearch_cli(*LINE, *OPTIONS, *SHORT, "--name", "net")
    assert result.exit_code == 0, result.stderr
    assert "score supernet" in result.stdout
    said = "accuracies are of one weight-sharing supernet on the validation images: they rank"
    assert f"EVIDENCE  none: {said}" in result.stdout
    assert "training the supernet: epoch 0.0 of 1" in result.stderr
    asked = read_run(Path("runs/net")).supernet
    assert asked is not None
    assert (asked["paths"], asked["recalibration"], asked["warmup"]) == (0, 1, 0)
    assert (Path("runs/net") / "supernet" / "model.safetensors").is_file()
    page = Path("runs/net/report/report.md").read_text()
    assert "accuracy on the validation images of one supernet's weights, in per cent" in page

    other = bamsearch_cli("search", "--resume", "net", "--supernet", "paths=1")
    assert other.exit_code == 2
    assert "has --supernet warmup=0 paths=0" in other.stderr
    more = bamsearch_cli("search", "--resume", "net", *OPTIONS, "--trials", "3", "--json")
    assert more.exit_code == 0, more.stderr
    assert json.loads(more.stdout)["trials"] == 3


def test_a_dry_run_says_the_share_of_the_supernet(bamsearch_cli):
    result = bamsearch_cli(*LINE, *OPTIONS, *SHORT, "--dry-run", "--name", "net")
    assert result.exit_code == 0, result.stderr
    assert "of that to train the supernet, sampler gp" in result.stdout
    assert not Path("runs").exists()
    result = bamsearch_cli(*LINE, *OPTIONS, *SHORT, "--dry-run", "--json")
    found = json.loads(result.stdout)
    assert 0 < found["supernet_seconds"] < found["estimated_seconds"]


def test_a_dry_run_of_trainings(bamsearch_cli):
    result = bamsearch_cli("search", MODEL, "--data", "digits", "--epochs", "1", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "40 trials and 5 references: about" in result.stdout


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--supernet", "path=1"], "no option of a supernet is called 'path': did you mean paths?"),
        (["--supernet", "warmup=1"], "warmup of 1 epochs: of 1 none is left for BAM"),
        (["--score", "train", "--supernet", "paths=1"], "--supernet is for score supernet"),
    ],
)
def test_what_is_wrong_is_refused(bamsearch_cli, line, says):
    result = bamsearch_cli(*LINE, *line)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert not Path("runs").exists()


def test_without_data_it_is_refused(bamsearch_cli):
    result = bamsearch_cli("search", "resnet18", "--score", "supernet")
    assert result.exit_code == 2
    assert "score supernet needs data: give --data NAME" in result.stderr


def test_while_it_trains_no_trial_is_counted_as_slow():
    request = Request(
        MODEL,
        data=load_data("digits").facts,
        input_size=(8, 8),
        num_classes=10,
        score="supernet",
        recipe=find_recipe("short").changed(epochs=4),
    )
    run = plan_search(request).run
    shown, now = [], [0.0]
    view = SearchView(run, Console(), shown.append, clock=lambda: now[0])
    view.watch([])
    now[0] = 500.0
    view.follow(None, Progress(epoch=2, step=11, steps=22))
    assert "training the supernet: epoch 2.5 of 4" in shown[-1]
    now[0] = 502.0
    view.watch([(None, Trial(0, run.design(()), 70.0, 1, 1))])
    assert "training the supernet" not in shown[-1]
    assert "0.50 a second" in shown[-1]
