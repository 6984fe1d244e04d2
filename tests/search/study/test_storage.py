"""Databases that do not answer, and passwords that are shown to nobody."""

import sys

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import OperationalError

from bamsearch.cli.main import hide_password
from bamsearch.errors import MissingExtraError, StorageError
from bamsearch.study import storage as module
from bamsearch.study.storage import mask_url, open_storage, retry_until, sqlite_url

# no server listens on port 1
NOWHERE = "postgresql+psycopg://me:geheim@127.0.0.1:1/db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg://me:geheim@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql+psycopg://me:ge/heim@host/db", "postgresql+psycopg://me:***@host/db"),
        (
            "postgresql+psycopg://host/db?password=geheim",
            "postgresql+psycopg://host/db?password=hidden",
        ),
        (
            "postgresql+psycopg://h/db?sslpassword=geheim&sslmode=require",
            "postgresql+psycopg://h/db?sslmode=require&sslpassword=hidden",
        ),
        ("postgresql+psycopg://me@host:5433/db", "postgresql+psycopg://me@host:5433/db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert mask_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "geheim",
        "me:geheim@host",
        "http://me:geheim@host/db",
        "postgresql+geheim://host/db",
        "postgresql://me:geheim@host:port/db",
        # unescaped: what is behind the first @ would be shown
        "postgresql+psycopg://me:so@geheim@host/db",
    ],
)
def test_an_invalid_url_is_not_repeated(url):
    with pytest.raises(StorageError, match="`storage`") as raised, open_storage(url):
        pass
    error: BaseException | None = raised.value
    while error is not None:
        # -v prints all of them
        assert "geheim" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    with (
        pytest.raises(StorageError, match=r"me:\*\*\*@127.0.0.1:1/db does not answer") as raised,
        open_storage(NOWHERE, patience=0.2),
    ):
        pass
    assert "refused" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_an_unknown_host():
    url = "postgresql+psycopg://me:geheim@no.such.host.invalid/db"
    with pytest.raises(StorageError, match=r"no\.such\.host\.invalid/db does not answer"):  # noqa: SIM117
        with open_storage(url, patience=0):
            pass


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match=r"cannot be used \(unable to open database file\)"):  # noqa: SIM117
        with open_storage(f"sqlite:///{tmp_path}/no/study.db"):
            pass


def test_a_file_that_is_not_a_database(tmp_path):
    path = tmp_path / "study.db"
    path.write_bytes(b"no database" * 1000)
    with (
        pytest.raises(StorageError, match="file is not a database"),
        open_storage(sqlite_url(path)),
    ):
        pass


def test_psycopg_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match="bamsearch\\[cluster\\]"), open_storage(NOWHERE):
        pass


def test_another_driver_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    url = "postgresql+psycopg2://me:geheim@host/db"
    with pytest.raises(StorageError, match=r"psycopg2:// needs a driver.*postgresql\+psycopg://"):  # noqa: SIM117
        with open_storage(url):
            pass


def test_patience_ends_but_not_at_once(monkeypatch):
    """The clock stands still but for the pauses."""
    now, pauses = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module.time, "sleep", sleep)
    calls = 0

    def call() -> str:
        nonlocal calls
        calls += 1
        if calls < 5:
            raise StorageInternalError from OperationalError("SELECT 1", {}, Exception("gone\nx"))
        return "back"

    assert retry_until(call, "db", 30) == "back"
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    calls, now, pauses = -1000, 0.0, []
    with pytest.raises(StorageError, match=r"^db does not answer \(gone\): "):
        retry_until(call, "db", 30)
    assert 25 <= sum(pauses) <= 30


def test_other_errors_pass_at_once():
    with pytest.raises(KeyError):
        retry_until({}.popitem, "db", 30)


def test_sqlite_keeps_what_it_has_committed(tmp_path):
    with open_storage(sqlite_url(tmp_path / "study.db")) as opened:
        study = opened.create_new_study([])
        with opened._backend.engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        assert (mode, synchronous) == ("wal", 2)  # FULL
        assert (tmp_path / "study.db-wal").exists()
        opened.create_new_trial(study, create_trial(state=TrialState.WAITING))
    # closed: the log has been written into the file
    assert not (tmp_path / "study.db-wal").exists()


def test_of_two_workers_on_sqlite_one_takes_a_trial(tmp_path):
    """Both have read that it waits; without a lock on reading, both would then set it running."""
    url = sqlite_url(tmp_path / "study.db")
    with open_storage(url) as first, open_storage(url) as other:
        study = first.create_new_study([])
        trial_id = first.create_new_trial(study, create_trial(state=TrialState.WAITING))
        other._backend.engine.dispose()
        from sqlalchemy import event

        taken = []

        def meanwhile(connection, cursor, statement, *rest):
            if statement.startswith("UPDATE trials") and not taken:
                taken.append(statement)
                timeout = "PRAGMA busy_timeout=1"
                with other._backend.engine.connect() as second:
                    second.connection.dbapi_connection.execute(timeout)
                    with pytest.raises(OperationalError, match="locked"):
                        second.exec_driver_sql("SELECT state FROM trials")

        event.listen(first._backend.engine, "before_cursor_execute", meanwhile)
        assert first.set_trial_state_values(trial_id, TrialState.RUNNING)
        assert taken
        assert not other.set_trial_state_values(trial_id, TrialState.RUNNING)


@pytest.mark.parametrize(
    ("args", "typed"),
    [
        (["worker", "x", "--storage", NOWHERE], ["worker", "x"]),
        (["worker", f"--storage={NOWHERE}", "x"], ["worker", "x"]),
        (["worker", "--storage", "postgresql://host/db?password=geheim"], ["worker"]),
        (["worker", "--storage", "postgresql://me:ge/heim@host/db"], ["worker"]),
        (["worker", "--storage", "postgresql://:geheim@host/db"], ["worker"]),
    ],
)
def test_a_typed_password_goes_into_the_environment(args, typed, monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda *call: started.append(call))
    hide_password(args)
    (program, command, environment) = started[0]
    assert program == sys.executable
    assert command == [sys.executable, "-m", "bamsearch", *typed]
    assert environment["BAMSEARCH_STORAGE"] in " ".join(args)


@pytest.mark.parametrize(
    "args",
    [
        ["worker", "x"],
        ["worker", "x", "--storage"],
        ["worker", "x", "--storage", "postgresql+psycopg://me@host:5432/db"],
        ["search", "--storage=sqlite:////tmp/a:b.db"],
    ],
)
def test_without_a_password_nothing_is_hidden(args, monkeypatch):
    monkeypatch.setattr("os.execve", lambda *call: pytest.fail("started again"))
    hide_password(args)


OLD_SQLALCHEMY = tuple(map(int, sqlalchemy.__version__.split(".")[:2])) < (2, 1)
QUESTION = pytest.param("r?1", marks=pytest.mark.skipif(OLD_SQLALCHEMY, reason="is refused"))


@pytest.mark.skipif(not OLD_SQLALCHEMY, reason="SQLAlchemy quotes it")
def test_a_path_that_sqlalchemy_does_not_quote_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"choose a folder whose path is UTF-8 and without \?"):
        sqlite_url(tmp_path / "r?1" / "study.db")


@pytest.mark.parametrize("name", [QUESTION, "My%20Project", "p{q}", "a b#c", "ü+&=", "100%"])
def test_a_study_is_in_the_file_that_its_path_says(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for _ in range(2):
        with open_storage(sqlite_url(folder / "study.db")) as storage:
            assert storage.get_all_studies() == []
    assert (folder / "study.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_braces_in_a_password_are_a_password():
    storage = open_storage("postgresql+psycopg://me:pw{SECRET}x@127.0.0.1:1/db", patience=0.0)
    with pytest.raises(StorageError, match="does not answer") as raised:
        storage.__enter__()
    assert "SECRET" not in str(raised.value)
