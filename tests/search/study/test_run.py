"""A run resumes from any state of its folder, and no two searches share one by accident."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from bamsearch.errors import OutputError, RunError, StorageError
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import plan_of_run
from bamsearch.study.run import SearchOptions, run_from_database, run_search
from bamsearch.study.storage import open_storage, sqlite_url

TRIALS = 6


@pytest.fixture(scope="module")
def planned(engine):
    return engine.planned(sampler="random", trials=TRIALS, compare_random=True)


@pytest.fixture(scope="module")
def finished(engine, planned, tmp_path_factory):
    """A run that has ended, to be copied."""
    path = tmp_path_factory.mktemp("finished") / "run"
    engine.search(path, planned)
    return path


@pytest.fixture
def run(finished, runs) -> RunFolder:
    return RunFolder(shutil.copytree(finished, runs / "run"))


@pytest.fixture
def url(runs) -> str:
    """A database that several share; SQLite here, as every part of a run is tested with it."""
    return f"sqlite:///{runs}/shared.db"


def never(design):
    raise AssertionError("all has been scored")


def test_a_finished_run_has_nothing_to_do(engine, run):
    before = run.read_record()
    assert engine.search(run.path, None, never) == before
    assert (run.path / "log.txt").read_text().count("all trials are finished") == 2


@pytest.mark.parametrize("lines", [0, 1, 4, 9])
@pytest.mark.parametrize("torn", [b"", b'{"reference": nul'])
def test_lines_that_were_not_written_come_from_the_study(engine, run, lines, torn):
    before = run.read_record()
    path = run.path / "trials.jsonl"
    lines_kept = path.read_bytes().splitlines(keepends=True)[:lines]
    path.write_bytes(b"".join(lines_kept) + torn)
    after = engine.search(run.path, None, never)
    assert engine.own(after) == engine.own(before)
    assert sorted(engine.compared(after), key=str) == sorted(engine.compared(before), key=str)
    numbers = [trial.number for trial in after.trials]
    assert len(numbers) == len(set(numbers))


def test_the_plain_record_may_be_gone(engine, run):
    before = run.read_record()
    (run.path / "trials.jsonl").unlink()
    shutil.rmtree(run.path / "best")
    assert engine.own(engine.search(run.path, None, never)) == engine.own(before)
    assert (run.path / "best" / "design.json").read_text() == before.best.design.to_json()


def test_no_study_yet(engine, planned, runs):
    folder = RunFolder(runs / "run")
    folder.create(replace(planned.run, name="run"))
    assert len(engine.search(folder.path).trials) == TRIALS


def test_a_study_that_is_gone_is_not_started_again(engine, run):
    run.study.unlink()
    before = run.read_record()
    with pytest.raises(RunError, match=r"the study of run run is missing from .*study\.db"):
        engine.search(run.path)
    assert run.read_record() == before


def test_lines_of_another_study(engine, run, planned, runs):
    fewer = replace(planned, run=replace(planned.run, trials=2, created=run.read_run().created))
    engine.search(runs / "other" / "run", fewer)
    shutil.copy(runs / "other" / "run" / "study.db", run.study)
    with pytest.raises(RunError, match=r"trials\.jsonl has trials that are not in"):
        engine.search(run.path)


def test_a_run_of_a_newer_version(engine, run):
    path = run.path / "run.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"bamsearch_run": 99}))
    with pytest.raises(RunError, match=r"run format 99.*pip install --upgrade bamsearch"):
        engine.search(run.path)


def test_the_study_of_a_newer_version(engine, planned, run):
    with open_storage(sqlite_url(run.study)) as storage:
        study = optuna.load_study(study_name="run", storage=storage)
        content = json.loads(study.user_attrs["bamsearch"])
        study.set_user_attr("bamsearch", json.dumps(content | {"bamsearch_run": 99}))
    with pytest.raises(RunError, match=r"run run has run format 99"):
        engine.search(run.path)


def test_a_locked_run(engine, run):
    with run.locked(), pytest.raises(RunError, match="another search is running on run run"):
        engine.search(run.path)


def test_a_name_that_is_taken_in_the_database(engine, planned, runs, url):
    record = engine.search(runs / "one" / "run", planned, url=url)
    with pytest.raises(
        RunError, match=r"study run already exists in this database: .*`resume=run`"
    ):
        engine.search(runs / "two" / "run", planned, url=url)
    assert not (runs / "two").exists()
    assert RunFolder(runs / "one" / "run").read_record() == record


def test_a_study_that_is_not_a_run(engine, planned, runs, url):
    with open_storage(url) as storage:
        study = optuna.create_study(study_name="run", storage=storage)
        study.tell(study.ask(), 1.0)
    with pytest.raises(RunError, match="study run already exists in this database"):
        engine.search(runs / "run", planned, url=url)
    RunFolder(runs / "run").create(replace(planned.run, name="run"))
    with pytest.raises(RunError, match="study run in this database is not a bamsearch run"):
        engine.search(runs / "run", None, url=url)


def test_another_run_of_the_name(engine, planned, runs, url):
    engine.search(runs / "one" / "run", planned, url=url)
    other = RunFolder(runs / "two" / "run")
    other.create(replace(planned.run, name="run", created="2001-01-01T00:00:00+00:00"))
    with pytest.raises(RunError, match="is not the run in"):
        engine.search(other.path, None, url=url)


def test_a_run_from_the_database(engine, planned, runs, url):
    record = engine.search(runs / "one" / "run", planned, url=url)
    other = RunFolder(runs / "two" / "run")
    other.create(run_from_database("run", url))
    assert other.read_run() == record.run
    assert engine.own(engine.search(other.path, None, never, url=url)) == engine.own(record)
    with pytest.raises(RunError, match="no run other in this database: it has run"):
        run_from_database("other", url)


def test_more_trials_requested_elsewhere_stay(engine, planned, runs, url):
    few = replace(planned, run=replace(planned.run, trials=2))
    engine.search(runs / "one" / "run", few, url=url)
    RunFolder(runs / "two" / "run").create(run_from_database("run", url))
    more = replace(planned, run=replace(RunFolder(runs / "two" / "run").read_run(), trials=4))
    assert len(engine.search(runs / "two" / "run", more, url=url, stop=lambda: True).trials) == 2
    record = engine.search(runs / "one" / "run", few, url=url)
    assert len(record.trials) == record.run.trials == 4


def test_a_shared_database_changes_nothing_for_one_process(engine, planned, finished, runs, url):
    record = engine.search(runs / "run", planned, url=url)
    whole = RunFolder(finished).read_record()
    assert engine.own(record) == engine.own(whole)
    assert sorted(engine.compared(record), key=str) == sorted(engine.compared(whole), key=str)
    assert record.run.storage == url


def test_ctrl_c_with_a_shared_database(engine, planned, finished, runs, url):
    calls = 0

    def score(design):
        nonlocal calls
        calls += 1
        if calls in (1, 3, 6):
            raise KeyboardInterrupt
        return engine.score(design)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            engine.search(runs / "run", planned, score, url=url)
    record = engine.search(runs / "run", planned, score, url=url)
    assert engine.own(record) == engine.own(RunFolder(finished).read_record())


def test_a_full_disk_of_the_database(engine, planned, runs):
    """SQLite's own limit gives SQLite's own error."""

    def limit(connection, record):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    few = replace(planned, run=replace(planned.run, trials=2, compare_random=False))
    engine.search(runs / "run", few)
    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", limit)
    try:
        with pytest.raises(StorageError, match=r"database or disk is full.*`resume`"):
            engine.search(runs / "run", replace(planned, run=replace(planned.run, trials=60)))
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "connect", limit)
    after = engine.search(runs / "run", replace(planned, run=replace(planned.run, trials=60)))
    assert len(after.trials) == 60
    assert len({trial.design for trial in after.trials}) == 60


def test_a_full_disk_of_the_folder(engine, planned, runs, monkeypatch):
    whole = engine.search(runs / "whole", planned)
    folder = RunFolder(runs / "run")
    appended = 0
    append = RunFolder.append

    def fills(self, trials):
        nonlocal appended
        appended += bool(trials)
        if appended >= 3:
            with open(self.path / "trials.jsonl", "ab") as file:
                file.write(b'{"reference": null, "number"')
            raise OutputError("No space left on device")
        append(self, trials)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", fills)
        with pytest.raises(OutputError, match="No space left"):
            run_search(planned, folder, SearchOptions(score=engine.score))
    record = engine.search(folder.path, planned)
    assert engine.own(record) == engine.own(whole)


OLD_RUNS = sorted((Path(__file__).parents[1] / "runs").iterdir())


@pytest.mark.parametrize("path", OLD_RUNS, ids=lambda path: path.name)
def test_a_run_of_each_released_version_resumes(engine, runs, path):
    """Read, ranked and resumed; in a folder of another name, as a copy may have."""
    shutil.copytree(path, runs / "old")
    folder = RunFolder(runs / "old")
    record = folder.read_record()
    assert record.run.versions["bamsearch"] == path.name
    assert record.run.model == "resnet18"
    assert len(record.complete) == record.run.trials == 6
    # the score is the number of parameters
    sizes = [trial.params for trial in record.ranking()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(trial.score == trial.params for trial in record.trials)
    assert record.baseline("largest").score == record.best.score
    again = plan_of_run(record.run)
    assert again.feasible.count == record.run.feasible_designs
    more = replace(again, run=replace(again.run, trials=9))
    resumed = run_search(more, folder, SearchOptions())
    assert engine.own(resumed)[:6] == engine.own(record)
    assert len({trial.design for trial in resumed.complete}) == 9
    limit = record.run.budgets[0].limit
    assert all(trial.macs <= limit for trial in resumed.trials)
    assert engine.compared(resumed) == engine.compared(record)


def test_a_folder_may_be_moved(engine, run, runs):
    before = run.read_record()
    run.path.rename(runs / "elsewhere")
    assert engine.search(runs / "elsewhere", None, never) == before


def test_optuna_is_as_loud_as_before(engine, run):
    before = optuna.logging.get_verbosity()
    engine.search(run.path)
    assert optuna.logging.get_verbosity() == before


def test_the_database_is_one_file_afterwards(run):
    names = {path.name for path in run.path.iterdir()}
    assert names == {"run.json", "study.db", "trials.jsonl", "best", "log.txt", "lock"}


def test_no_torch_for_a_score_that_needs_none(finished, tmp_path):
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path\n"
        "from bamsearch.study.folder import RunFolder\n"
        "from bamsearch.study.request import plan_of_run\n"
        "from bamsearch.study.run import SearchOptions, run_search\n"
        "folder = RunFolder(Path(sys.argv[1]))\n"
        "run_search(plan_of_run(folder.read_run()), folder, SearchOptions())\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    copy = shutil.copytree(finished, tmp_path / "run")
    subprocess.run([sys.executable, "-W", "error", "-c", script, str(copy)], check=True)


@pytest.mark.parametrize("after", ["the line", "half a line"])
def test_an_interrupted_line_is_there_once(engine, planned, runs, monkeypatch, after):
    """Ctrl-C falls between a trial's line and the next statement, or inside the line."""
    append, calls = RunFolder.append, []

    def interrupted(self, trials):
        calls.append(len(trials))
        if len(calls) != 3:
            return append(self, trials)
        if after == "the line":
            append(self, trials)
        else:
            with (self.path / "trials.jsonl").open("ab") as file:
                file.write(b'{"reference": nul')
        raise KeyboardInterrupt

    whole = engine.search(runs / "whole", planned)
    monkeypatch.setattr(RunFolder, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.search(runs / "run", planned)
    record = engine.search(runs / "run")
    lines = (runs / "run" / "trials.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(record.trials) + len(record.baselines)
    assert engine.own(record) == engine.own(whole)


def test_a_best_design_that_a_kill_left_behind_is_replaced(engine, run):
    best = run.path / "best" / "design.json"
    newest = best.read_text()
    run.write_best(run.read_run().design(()))
    assert best.read_text() != newest
    engine.search(run.path, None, never)
    assert best.read_text() == newest


def test_a_killed_writer_s_folder_does_not_block_the_run(engine, run):
    """What a kill leaves where a training's design and weights are written."""
    draft = run.path / "train" / "0-00000000" / ".writing-abcd1234"
    (draft / "old").mkdir(parents=True)
    (draft / "design.json").write_text("{")
    assert len(engine.search(run.path, None, never).trials) == TRIALS
    assert not draft.exists()


def test_checkpoints_that_could_not_be_removed_go_at_the_end(engine, run):
    training = run.path / "train" / "0-00000000"
    training.mkdir(parents=True)
    for name in ("train.json", "checkpoint.pt", ".lock"):
        (training / name).touch()
    (training / "mine.txt").touch()
    engine.search(run.path, None, never)
    assert [path.name for path in training.iterdir()] == ["mine.txt"]
    (training / "mine.txt").unlink()
    (training / "checkpoint.pt").touch()
    engine.search(run.path, None, never)
    assert not (run.path / "train").exists()
