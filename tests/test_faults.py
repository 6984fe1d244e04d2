"""A sample of benchmarks/faults.py: commands that are disturbed end as if they had not been."""

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the source distribution", allow_module_level=True)


@pytest.fixture
def imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in ("faults", "fault_cases", "fault_server", "machine"):
        sys.modules.pop(name, None)


@pytest.mark.skipif(sys.platform != "linux", reason="faults.c is for Linux")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    ("kills", "errors", "signals", "pairs"),
    [("8", "4", "2", "4"), pytest.param("20", "8", "3", "4", marks=pytest.mark.zoo)],
)
def test_a_sample_of_the_campaign(kills, errors, signals, pairs):
    commands = ["--only", "search", "--only", "train", "--only", "insert"]
    numbers = ["--kills", kills, "--errors", errors, "--signals", signals, "--pairs", pairs]
    line = [sys.executable, str(BENCHMARKS / "faults.py"), *commands, *numbers, "--seed", "7"]
    done = subprocess.run(
        [*line, "--locks", "0", "--pauses", "0"],
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " kills: 0 lost, 0 doubled, 0 stuck, 0 different, 0 refused." in done.stdout
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| `")]
    assert {row[2].strip() for row in rows} >= {"kill", "error", "two at once"}
    assert sum(int(row[3]) for row in rows) >= int(kills)


def test_each_kind_of_operation_comes_first(imported):
    operations = [("write", "a")] * 50 + [("rename", "a"), ("write", ".writing-b-17")]
    order = imported("faults").spread(operations, random.Random(0))
    assert sorted(order) == list(range(1, 53))
    assert {51, 52} < set(order[:3])


def test_what_the_campaign_would_notice(imported, tmp_path):
    cases = imported("fault_cases")
    trial = {"reference": None, "number": 3, "score": 0.1, "seconds": 0.2, "retries": 0}
    path = tmp_path / "trials.jsonl"
    path.write_text(json.dumps(trial) + "\n")
    before, content = cases.finished(tmp_path), cases.content(tmp_path)
    again = json.dumps(trial | {"number": 4, "seconds": 0.3, "retries": 1}) + "\n"
    path.write_text(again)
    assert (cases.finished(tmp_path), cases.content(tmp_path)) == (before, content)
    path.write_text(again * 2)
    assert list((cases.finished(tmp_path) - before).values()) == [1]
    path.write_text(again.replace("0.1", "0.2"))
    assert before - cases.finished(tmp_path)
    assert cases.content(tmp_path) != content
    path.write_text(again)
    (tmp_path / ".writing-a-1").mkdir()
    assert cases.content(tmp_path).keys() - content.keys() == {".writing-a-1"}
