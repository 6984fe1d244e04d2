"""``bamsearch verify``."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest

from bamsearch.api.search import search
from bamsearch.data import loading
from bamsearch.evidence.verify.looks import meets
from bamsearch.records.run_files import read_record
from bamsearch.training.trainer import TrainerState

NET = """
from torch import nn
def small(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""

QUICK = ["--data", "digits", "--seeds", "2", "--epochs", "1", "--device", "cpu"]


def made(folder, model, **others):
    search(model, score="params", trials=2, output=folder, compare_random=False, **others)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A folder with net.py and runs/small, a search in it for digits."""
    folder = tmp_path_factory.mktemp("verify")
    (folder / "net.py").write_text(NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made("runs/small", "net.py:small", input_size=(8, 8), num_classes=10)
    return folder


@pytest.fixture(scope="module")
def finished(start, bamsearch_cli, tmp_path_factory):
    """What a verify of that run printed, and the folder where it ran."""
    folder = shutil.copytree(start, tmp_path_factory.mktemp("finished"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = bamsearch_cli("verify", "small", *QUICK)
    assert result.exit_code == 0, result.stderr
    return result, folder


@pytest.fixture
def verified(finished, here):
    """What that verify printed; its files are in the current folder."""
    result, folder = finished
    shutil.copytree(folder, here, dirs_exist_ok=True)
    return result


@pytest.fixture(autouse=True)
def here(start, tmp_path, monkeypatch):
    """The current folder, a copy of it."""
    shutil.copytree(start, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_answer_stands_first_in_every_format(bamsearch_cli, verified, here):
    result = verified
    evidence = read_record(here / "runs" / "small").evidence
    first = evidence.differences[0]
    networks = len({tuple(design) for design in evidence.designs.values()})
    report = here / "runs" / "small" / "report"
    headline = json.loads((report / "report.json").read_text())["answer"]["headline"]
    assert f"95% [{first.low:+.2f}, {first.high:+.2f}] over seeds, 2 paired seeds" in headline
    plan, _, answer = result.stdout.partition(f"\n\n{headline}\n")
    assert f"{networks} networks × 2 seeds = {2 * networks} trainings at most, one look" in plan
    assert "smallest difference detectable with 80% power: " in plan
    assert "spread of one training over seeds of 0.29 to 1.32 points, the range of a pilot" in plan
    assert "paper default" in answer.splitlines()[0]
    assert "of training and testing" in result.stderr
    assert f"training {2 * networks} of at most {2 * networks}: " in result.stderr
    markdown = (report / "report.md").read_text().replace("\\", "")
    assert 0 < markdown.index(headline) < markdown.index("## Comparison")
    page = (report / "report.html").read_text()
    assert page.index(headline) < page.index("Comparison</h2>")
    assert f"EVIDENCE  {headline}" in bamsearch_cli("report", "small").stdout


def test_a_dry_run_writes_nothing_and_reads_no_test_image(bamsearch_cli, here, monkeypatch):
    monkeypatch.setattr(loading, "_test_split", lambda *_: pytest.fail("the test split"))
    before = {path for path in here.rglob("*") if "__pycache__" not in str(path)}
    result = bamsearch_cli("verify", "small", *QUICK, "-n")
    assert result.exit_code == 0, result.stderr
    assert "random weights · seeds from 10000" in result.stdout
    assert "Would write   runs/small/verify" in result.stderr
    content = json.loads(bamsearch_cli("verify", "small", *QUICK, "-n", "--json").stdout)
    assert (content["seeds"], content["looks"], content["done"]) == ([10000, 10001], [2], 0)
    assert content["smallest_detectable"][0] < content["smallest_detectable"][1]
    assert content["assumed_sd_of_a_training"] == [0.29, 1.32]
    assert content["trainings"] == 2 * len(content["networks"])
    assert content["networks"][0]["roles"] == ["base"]
    assert content["seconds"] > 0
    after = {path for path in here.rglob("*") if "__pycache__" not in str(path)}
    assert after == before


def test_an_unexpected_verdict_is_exit_code_4(bamsearch_cli, verified):
    line = ["verify", "small", *QUICK, "--margin", "0.001", "--json"]
    whole = bamsearch_cli(*line)
    assert whole.exit_code == 0, whole.stderr
    content = json.loads(whole.stdout)
    assert content["evidence"]["differences"][0]["against"] == "base"
    # Two seeds: the interval is t of one degree of freedom, a dozen deviations wide.
    assert content["answer"]["verdict"] == "not distinguished"
    for expected in ("better", "not-worse"):
        result = bamsearch_cli(*line, "--expect", expected)
        assert result.exit_code == 4
        assert f"expected {expected}: Not distinguishable from base" in result.stderr
        assert json.loads(result.stdout)["answer"]["verdict"] == "not distinguished"
    assert bamsearch_cli(*line, "--margin", "1000", "--expect", "not-worse").exit_code == 0


@pytest.mark.parametrize(
    ("low", "better", "not_worse"),
    [(0.1, True, True), (-0.1, False, True), (-0.3, False, True), (-0.6, False, False)],
)
def test_what_is_expected(low, better, not_worse):
    assert meets(low, "better", 0.5) == better
    assert meets(low, "not-worse", 0.5) == not_worse


def test_ctrl_c_and_the_same_command_again(start, verified, bamsearch_cli, here, monkeypatch):
    shutil.copytree(start / "runs/small", "runs/cut")
    plain, calls = TrainerState.__init__, []

    def interrupted(trainer, *args) -> None:
        plain(trainer, *args)

        def hook(module, args) -> None:
            calls.append(1)
            if len(calls) == 45:
                os.kill(os.getpid(), signal.SIGINT)

        trainer.module.register_forward_pre_hook(hook)

    with monkeypatch.context() as patch:
        patch.setattr(TrainerState, "__init__", interrupted)
        result = bamsearch_cli("verify", "cut", *QUICK)
    assert result.exit_code == 130
    assert "continue  the same command again" in result.stderr
    assert not (here / "runs/cut/evidence.json").exists()
    assert bamsearch_cli("verify", "cut", *QUICK).exit_code == 0
    ends = [read_record(here / "runs" / name).evidence for name in ("small", "cut")]
    assert len(ends[0].openings) == len(ends[1].openings) == 1
    ends = [replace(end, openings=(), command="") for end in ends]
    assert ends[0] == ends[1]


def test_another_plan_after_a_look_is_exploratory_and_never_as_expected(bamsearch_cli, verified):
    line = ["verify", "small", *QUICK, "--margin", "1000", "--expect", "not-worse", "--json"]
    first = bamsearch_cli(*line)
    assert first.exit_code == 0, first.stderr
    planned = bamsearch_cli(*line, "--seeds", "3", "-n")
    assert json.loads(planned.stdout)["exploratory"].startswith("Exploratory: the test split was")
    result = bamsearch_cli(*line, "--seeds", "3")
    assert result.exit_code == 4
    assert "expected not-worse: Exploratory: " in result.stderr
    content = json.loads(result.stdout)
    assert "(up to 2 seeds, not up to 3; one look" in content["evidence"]["exploratory"]
    assert content["answer"]["headline"].startswith("Exploratory: ")
    assert [opening["seeds"] for opening in content["evidence"]["openings"]] == [2, 3]
    assert bamsearch_cli(*line).exit_code == 0  # the first plan counts as before


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["nowhere", *QUICK], 2, "no run is called 'nowhere'"),
        (["small", *QUICK, "--seed", "0"], 2, "used seed 0: omit --seed, or give at least 1"),
        (["small"], 2, "was searched without data: add --data NAME"),
        (["small", "--data", "digit"], 2, "did you mean digits?"),
        (["small", "--data", "digits", "--seeds", "1"], 2, "1 is not in the range x>=2"),
        (["big", *QUICK], 2, "run big is for 3x32x32, but digits has 3x8x8 and 10 classes: "),
        (["big", *QUICK], 2, "'bamsearch search net.py:small --data digits'"),
        (["seven", *QUICK], 2, "is for 3x8x8 and 7 classes, but digits has 3x8x8 and 10"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bamsearch_cli, here, line, code, says):
    made("runs/big", "net.py:small", input_size=(32, 32))
    made("runs/seven", "net.py:small", input_size=(8, 8), num_classes=7)
    result = bamsearch_cli("verify", *line)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert result.stderr.removeprefix("executes code of net.py\n").count("\n") == 1
    assert result.stdout == ""
    assert not list(here.rglob("verify"))


def test_classes_that_no_one_named_are_refused_too(bamsearch_cli, here):
    text = NET.replace("num_classes=10", "num_classes=12").replace("small", "twelve")
    (here / "net.py").write_text(text)
    made("runs/twelve", "net.py:twelve", input_size=(8, 8))
    result = bamsearch_cli("verify", "twelve", *QUICK)
    assert result.exit_code == 2
    assert "'bamsearch search net.py:twelve --data digits' makes a run that fits" in result.stderr


def test_trained_weights_that_init_paper_disturbs_are_warned_of(bamsearch_cli, verified):
    weights = "runs/small/verify/10000-base/model.safetensors"
    made("runs/other", "net.py:small", input_size=(8, 8), num_classes=10)
    result = bamsearch_cli("verify", "other", *QUICK, "--weights", weights, "-n")
    assert "recipe fine-tune: 1 epoch, batch 64, lr 0.01" in result.stdout
    assert f"all fine-tuned from weights {weights}" in result.stdout
    assert "the run has init paper" in result.stderr


def test_a_run_of_a_module_is_verified_from_python(bamsearch_cli, here):
    from torch import nn

    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    made("runs/own", nn.Sequential(*layers, nn.Linear(8, 10)), input_size=(8, 8))
    for line, advice in (
        (
            ["verify", "own", *QUICK],
            "call bamsearch.verify(result) from Python",
        ),
        (["audit", "own", "--data", "digits"], "write a function that builds it"),
    ):
        result = bamsearch_cli(*line)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith(
            f"bamsearch: error: run own searched a module that no MODEL builds: {advice}"
        )
