"""``bamsearch audit``."""

import json
import os
import signal
from itertools import product

import pytest

from bamsearch.records.audit_files import read_audit, read_trainings
from bamsearch.records.run_files import read_run
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

LINE = [
    *("audit", "net.py:small", "--data", "digits", "--designs", "8", "--seeds", "2"),
    *("--epochs", "1", "--device", "cpu", "--scores", "macs"),
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in str(path)}


def test_a_dry_run_writes_nothing(bamsearch_cli, here):
    before = files(here)
    result = bamsearch_cli(*LINE, "-n", "--budget-params", "+90%")
    assert result.exit_code == 0, result.stderr
    assert "8 of 63 feasible designs" in result.stdout
    assert "× 2 seeds = 16 trainings" in result.stdout
    assert "of training in one process" in result.stderr
    assert "Would write   audits/small-digits-001/audit.json" in result.stderr
    content = json.loads(bamsearch_cli(*LINE, "-n", "--json").stdout)
    assert (content["trainings"], content["done"], content["seeds"]) == (16, 0, [0, 1])
    assert content["designs"][0]["insertions"] == []
    assert (content["scores"], content["score_seeds"]) == (["params", "macs"], 8)
    fewer = bamsearch_cli(*LINE, "-n", "--score-seeds", "2", "--seed", "3").stdout
    assert "scores params, macs · score seeds 3 to 4\n" in fewer
    assert content["seconds_in_one_process"] > 0
    assert files(here) == before


def planted(bamsearch_cli, folder, number: int) -> None:
    """The first trainings, as if they had been done elsewhere."""
    designs = json.loads(bamsearch_cli(*LINE, "-n", "--json").stdout)["designs"]
    folder.mkdir(parents=True)
    with open(folder / "trainings.jsonl", "w") as file:
        for seed, (index, design) in list(product((0, 1), enumerate(designs)))[:number]:
            reached = {"right": 20 + 7 * index % 11 + seed, "images": 176}
            file.write(json.dumps({"design": design["insertions"], "seed": seed} | reached) + "\n")


def test_ctrl_c_and_the_same_command_again_and_the_result_is_cited(
    bamsearch_cli, here, monkeypatch
):
    folder = here / "audits" / "small-digits-001"
    planted(bamsearch_cli, folder, 13)
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
        result = bamsearch_cli(*LINE, "--name", folder.name)
    assert result.exit_code == 130
    assert "continue  the same command again" in result.stderr
    done = len(read_trainings(folder)[0])
    assert done in (13, 14, 15)
    assert "Not finished" in bamsearch_cli("report", "small-digits-001", "-n").stdout
    result = bamsearch_cli(*LINE)
    assert result.exit_code == 0, result.stderr
    assert f"{done} of 16 trainings done" in result.stderr
    assert "training 16 of 16: " in result.stderr
    audit = read_audit(folder)
    assert audit.verdict in result.stdout
    assert (folder / "report.md").read_text().count("# Which scores can be trusted?") == 1
    assert not (here / "audits" / "small-digits-002").exists()
    # It is made again from its record, and printed.
    again = bamsearch_cli("report", "small-digits-001")
    assert audit.verdict in again.stdout
    page = bamsearch_cli("report", "small-digits-001", "-f", "html", "-o", "-").stdout
    assert page == (folder / "report.html").read_text()
    content = json.loads(bamsearch_cli("report", "small-digits-001", "--json").stdout)
    assert content["answer"]["headline"] == audit.verdict
    _search_cites(bamsearch_cli, here, audit)


def _search_cites(bamsearch_cli, here, audit) -> None:
    line = ["search", "net.py:small", "--data", "digits", "--trials", "2", "--no-random"]
    result = bamsearch_cli(*line, "--score", "params", "--name", "one")
    assert result.exit_code == 0, result.stderr
    citation = read_run(here / "runs" / "one").audit
    agreement = audit.agreement("params", citation.setting)
    assert (citation.name, citation.tau) == ("small-digits-001", agreement.value)
    text = (
        "params was audited on digits (audit small-digits-001): Kendall's tau with trained accuracy"
    )
    assert text in result.stdout
    assert text in (here / "runs" / "one" / "report" / "report.md").read_text().replace("\\", "")
    other = bamsearch_cli(*line, "--score", "naswot", "--name", "two")
    assert "naswot has not been audited in this budget" in other.stdout
    assert read_run(here / "runs" / "two").audit is None


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--data", "digit"], 2, "did you mean digits?"),
        (["--designs", "7"], 2, "7 is not in the range x>=8"),
        (["--seeds", "1"], 2, "1 is not in the range x>=2"),
        (["--scores", "snap"], 2, "did you mean snip"),
        (["--budget-params", "10"], 3, "no design of net.py:small in space stages is within"),
        (["--name", "a/b"], 2, "an audit cannot be called 'a/b'"),
        (["--name", "a", "-o", "b"], 2, "--name and --output: choose one"),
        (["-o", "net.py"], 2, "net.py is a file"),
        (["-o", "full"], 2, "full exists already"),
        (["-o", "full", "--force"], 2, "full exists already: it is not an audit"),
        (["--name", "there"], 2, "was made with --seeds 3, not 2"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bamsearch_cli, here, audit, more, code, says):
    (here / "full").mkdir()
    (here / "full" / "a").touch()
    folder = here / "audits" / "there"
    folder.mkdir(parents=True)
    if "there" in more:
        line = bamsearch_cli(*LINE, "-n", "--json", "--seeds", "3")
        assert line.exit_code == 0
        _begin(folder)
    before = files(here)
    result = bamsearch_cli(*LINE, *more)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert files(here) == before


def _begin(folder) -> None:
    """An audit with three seeds that has just started."""
    from bamsearch.evidence.audit.request import AuditRequest, plan_audit

    request = AuditRequest(
        "net.py:small",
        data="digits",
        designs=8,
        seeds=3,
        epochs=1,
        device="cpu",
        scores=("macs",),
        output=folder,
    )
    plan = plan_audit(request)
    plan.folder.write_audit(plan.audit)


def test_what_a_run_says_is_not_said_again(bamsearch_cli, here):
    line = ["search", "net.py:small", "--data", "digits", "--trials", "2", "--no-random"]
    assert bamsearch_cli(*line, "--score", "params", "--name", "one").exit_code == 0
    result = bamsearch_cli("audit", "one", "--budget-gflops", "+5%")
    assert result.exit_code == 2
    assert "--budget-gflops is set by run one: leave it out" in result.stderr
    result = bamsearch_cli("audit", "one", "--designs", "8", "--epochs", "1", "-n")
    assert result.exit_code == 0, result.stderr
    assert "digits · 3×8×8" in result.stdout


def test_a_detector_has_no_classes_to_audit(bamsearch_cli):
    result = bamsearch_cli("audit", "fasterrcnn_resnet50_fpn", "--data", "digits")
    assert result.exit_code == 3
    assert "is a detector" in result.stderr
