"""Spoilt files end in an error of one line or in a value, whatever is in them.

Here a few of them for each reader, always the same; ``python -m tests.fuzz`` tries many more.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .mutations import spoil
from .reader import AUDIT, RUNS, Reader, expected
from .readers import make_readers

NAMES = [
    *(
        f"{use}: {file}"
        for use in ("record", "report")
        for file in (
            "run.json",
            "trials.jsonl",
            "learned.json",
            "evidence.json",
            "finalists.json",
        )
    ),
    *("resume: run.json", "audit: audit.json", "report: audit.json", "audit: trainings.jsonl"),
    *("audit: scores.json", "design.json", "RUN@K", "cache: summary", "cache: latencies"),
    *("latencies.csv", "train.json", "test.json", "checkpoint.pt"),
    *("space.toml", "trial in the database"),
]


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Reader]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAMSEARCH_CACHE", "")
        yield make_readers(tmp_path_factory.mktemp("fuzz"))


def test_every_reader_is_tried(readers):
    assert sorted(readers) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read(readers, name):
    reader = readers[name]
    for content in reader.whole[: 1 if name.startswith("report") else None]:
        assert expected(reader.read, content) == "read"


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_files_end_as_they_should(readers, name):
    reader = readers[name]

    @settings(
        max_examples=3 if reader.slow else 20,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def tried(data):
        def pick(several):
            return data.draw(st.sampled_from(several))

        content = pick(reader.whole)
        expected(reader.read, (reader.spoil or spoil)(content, pick))

    tried()


def test_a_report_and_the_list_of_runs_import_nothing_that_a_record_names(
    bamsearch_cli, tmp_path, monkeypatch
):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (tmp_path / "evil.py").write_text("open('executed', 'w')\ndef net(): ...\ndef score(d): ...\n")
    for file in ("run.json", "trials.jsonl", "learned.json", "evidence.json"):
        text = (RUNS["trained"] / file).read_text()
        if file == "run.json":
            content = json.loads(text)
            content["summary"]["model"] = "evil.py:net"
            content["score"] = "evil.py:score"
            text = json.dumps(content)
        (folder / file).write_text(text)
    audit = tmp_path / "audits" / "one"
    audit.mkdir(parents=True)
    content = json.loads((AUDIT / "audit.json").read_text())
    content["summary"]["model"] = "evil:net"
    (audit / "audit.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    for line in (["runs"], ["runs", "--json"], ["report", "one"], ["report", "audits/one"]):
        done = bamsearch_cli(*line)
        assert done.exit_code == 0, done.stderr
        assert not (tmp_path / "executed").exists(), line


def test_a_command_names_file_key_and_value(bamsearch_cli, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    content = json.loads((RUNS["plain"] / "run.json").read_text())
    content["summary"]["sites"][2]["stride"] = "abc"
    (folder / "run.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    said = (
        "run.json is not a valid run: key summary.sites[2].stride is 'abc', "
        "expected an integer; search again\n"
    )
    lines = ("report one", "search --resume one", "profile one", "export one", "verify one")
    for line in (*lines, "audit one", "train one --data digits", "export one@2"):
        done = bamsearch_cli(*line.split(), *(["--dry-run"] if line == "verify one" else []))
        if done.exit_code == 2 and "--data" in done.stderr:
            done = bamsearch_cli(*line.split(), "--data", "digits", "--dry-run")
        assert done.exit_code == 2, (line, done.stderr)
        assert done.stderr.endswith(said), (line, done.stderr)
    done = bamsearch_cli("runs")
    assert said.strip() in done.stderr
