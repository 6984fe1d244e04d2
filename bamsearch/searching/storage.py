"""The database of a study: opened with patience, and without ever showing its password."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from bamsearch.errors import MissingExtraError, StorageError
from bamsearch.searching.trials import retry_after_death
from bamsearch.text import is_utf8
from bamsearch.training.interrupt import asked_to_stop

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for which a database that does not answer is asked again."""

NO_ANSWER = (SQLAlchemyError, StorageInternalError)
"""What is raised where a database does not answer."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# Two beats may be lost to a busy machine.
_BEATS = 3
_ARGUMENTS = {
    # Seconds that a writer waits for another one.
    "sqlite": {"timeout": 60},
    # Without them, a server that is cut off is waited for as long as the system likes: minutes to
    # connect, hours for an answer.
    "postgresql": {
        "connect_timeout": 10,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    },
}


def sqlite_url(path: Path) -> str:
    """The URL of a study in a file.

    Raises:
        StorageError: SQLAlchemy cannot say that path in a URL.
    """
    database = str(path.absolute())
    url = None
    if is_utf8(database):
        url = sqlalchemy.URL.create("sqlite", database=database).render_as_string()
    # SQLAlchemy before 2.1 does not quote: it would open another file.
    if url is None or make_url(url).database != database:
        raise StorageError(
            f"{path} cannot hold a study: choose a folder whose path is UTF-8 and without ?"
        )
    return url


def shown_url(url: str) -> str:
    """A database's URL without its password, for people, logs and records.

    Raises:
        StorageError: not a URL of a database.
    """
    parsed = _parsed(url)
    secret = {key: "hidden" for key in parsed.query if "password" in key}
    return parsed.update_query_dict(secret).render_as_string(hide_password=True)


@contextmanager
def opened_storage(
    url: str, *, heartbeat: int | None = None, patience: float | None = None
) -> Iterator[BaseStorage]:
    """Connect to a database for a block, and make Optuna's tables where they are missing.

    Args:
        url: as SQLAlchemy takes it: ``postgresql+psycopg://USER@HOST/DB``, ``sqlite:///FILE``.
        heartbeat: seconds between a worker's signs of life; None where only one process works.
        patience: seconds for which a database that does not answer is asked again.

    Raises:
        StorageError: no such database, no answer, or tables of another Optuna.
        MissingExtraError: its driver is not installed.
    """
    parsed = _parsed(url)
    backend = parsed.get_backend_name()
    # What the URL says itself counts.
    own = {k: v for k, v in _ARGUMENTS.get(backend, {}).items() if k not in parsed.query}

    def connect() -> RDBStorage:
        with warnings.catch_warnings():
            # Heartbeats are called experimental since Optuna 2.9.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                # Optuna fills in what is in braces.
                url.replace("{", "{{").replace("}", "}}"),
                engine_kwargs={"pool_pre_ping": True, "connect_args": own},
                heartbeat_interval=heartbeat,
                grace_period=None if heartbeat is None else _BEATS * heartbeat,
                heartbeat_stale_trial_callback=retry_after_death,
            )

    try:
        storage = patiently(connect, shown_url(url), patience)
    except ImportError as error:
        raise _no_driver(parsed, error) from None
    except RuntimeError as error:
        raise StorageError(f"{shown_url(url)} holds studies of another Optuna: {error}") from error
    try:
        if backend == "sqlite":
            _write_safely(storage)
        yield optuna.storages.get_storage(storage)
    finally:
        # An interrupt in the middle of this would be logged by SQLAlchemy, with its traceback.
        with asked_to_stop(wait=True) as interrupted:
            storage.remove_session()
            storage.engine.dispose()
        if interrupted():
            raise KeyboardInterrupt


def check_driver(url: str) -> None:
    """Look whether a database can be spoken to.

    Raises:
        StorageError: not a URL of a database, or one without a driver here.
        MissingExtraError: the driver of an extra is not installed.
    """
    parsed = _parsed(url)
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        raise _no_driver(parsed, error) from None


def patiently(call: Callable[[], T], shown: str, patience: float | None = None) -> T:
    """Call again while the database does not answer, with longer and longer pauses.

    Args:
        call: what needs the database; it may be called again after half its work.
        shown: the database's URL for the error, without a password.
        patience: seconds until it is given up; :data:`PATIENCE` unless given.

    Raises:
        StorageError: no answer in that time; at once of a file, for which SQLite has waited.
    """
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except NO_ANSWER as error:
            reason = _reason(error)
            if shown.startswith("sqlite"):
                raise StorageError(
                    f"{shown} cannot be used ({reason}): is the disk full, or the file in use? "
                    "What is finished is kept: go on later with --resume"
                ) from None
            if time.monotonic() + pause > end:
                raise StorageError(
                    f"{shown} does not answer ({reason}): is the address right, and the server up? "
                    "What is finished is kept: go on later with --resume"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _parsed(url: str) -> sqlalchemy.URL:
    """The URL in its parts; errors do not repeat it, as any of it may be the password."""
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StorageError(
            "--storage is no URL of a database: give postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if "@" in (parsed.host or ""):
        raise StorageError("--storage has an @ too many: in a user or password it is written %40")
    return parsed


def _no_driver(parsed: sqlalchemy.URL, error: ImportError) -> MissingExtraError | StorageError:
    if parsed.drivername == "postgresql+psycopg":
        return MissingExtraError("psycopg", "cluster")
    cause = error.__cause__ or error
    return StorageError(
        f"{parsed.drivername}:// needs a driver that is not installed ({cause}): "
        "give postgresql+psycopg://USER@HOST/DATABASE"
    )


def _reason(error: BaseException) -> str:
    """What the driver said, in one line: SQLAlchemy's own text repeats whole statements."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    said = getattr(cause, "orig", None) or cause or error
    lines = str(said).splitlines() or [type(said).__name__]
    return lines[0].strip()


def _write_safely(storage: RDBStorage) -> None:
    """Make a commit one write that is on the disk, and let processes write one after another."""

    def prepare(connection: Any, record: Any) -> None:
        # Or sqlite3 begins a transaction only at its first write.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # A finished trial outlives a power cut.
        connection.execute("PRAGMA synchronous=FULL")

    def begin(connection: sqlalchemy.Connection) -> None:
        # SQLite has no SELECT FOR UPDATE, by which only one worker takes a trial elsewhere.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(storage.engine, "connect", prepare)
    sqlalchemy.event.listen(storage.engine, "begin", begin)
    storage.engine.dispose()
