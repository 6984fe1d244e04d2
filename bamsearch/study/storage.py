"""The study database: connects with retries, and never prints the password."""

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

from bamsearch.errors import MissingExtraError, StorageError, first_line
from bamsearch.study.store import retry_after_death
from bamsearch.text import is_utf8
from bamsearch.training.interrupt import defer_signals

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds of retries while a database does not answer."""

NO_ANSWER = (SQLAlchemyError, StorageInternalError)
"""Exceptions raised when a database does not answer."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# Heartbeats until a worker is considered dead: a busy machine may miss two.
_BEATS = 3
_ARGUMENTS = {
    # Seconds that a writer waits for another writer.
    "sqlite": {"timeout": 60},
    # The system's defaults wait for an unreachable server for minutes to connect and for hours
    # for an answer.
    "postgresql": {
        "connect_timeout": 10,
        "keepalives_idle": 20,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    },
}


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file.

    Raises:
        StorageError: SQLAlchemy cannot express the path as a URL.
    """
    database = str(path.absolute())
    url = None
    if is_utf8(database):
        url = sqlalchemy.URL.create("sqlite", database=database).render_as_string()
    # SQLAlchemy before 2.1 does not quote the path: it would open another file.
    if url is None or make_url(url).database != database:
        raise StorageError(
            f"{path} cannot hold a study: choose a folder whose path is UTF-8 and without ?"
        )
    return url


def mask_url(url: str) -> str:
    """The URL of a database without its password, for messages, logs and records.

    Raises:
        StorageError: not a database URL.
    """
    parsed = _parsed(url)
    secret = {key: "hidden" for key in parsed.query if "password" in key}
    return parsed.update_query_dict(secret).render_as_string(hide_password=True)


@contextmanager
def open_storage(
    url: str, *, heartbeat: int | None = None, patience: float | None = None
) -> Iterator[BaseStorage]:
    """Connect to a database for a block, creating Optuna's tables if they are missing.

    ``heartbeat`` is in seconds, None for a single process; ``patience`` are seconds of retries.

    Raises:
        StorageError: no such database, no answer, or tables of another Optuna version.
        MissingExtraError: the driver is not installed.
    """
    parsed = _parsed(url)
    backend = parsed.get_backend_name()
    # Options in the URL take precedence.
    defaults = {k: v for k, v in _ARGUMENTS.get(backend, {}).items() if k not in parsed.query}

    def connect() -> RDBStorage:
        with warnings.catch_warnings():
            # Heartbeats have been marked experimental since Optuna 2.9.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                # Optuna formats the URL, so braces are escaped.
                url.replace("{", "{{").replace("}", "}}"),
                engine_kwargs={"pool_pre_ping": True, "connect_args": defaults},
                heartbeat_interval=heartbeat,
                grace_period=None if heartbeat is None else _BEATS * heartbeat,
                heartbeat_stale_trial_callback=retry_after_death,
            )

    try:
        storage = retry_until(connect, mask_url(url), patience)
    except ImportError as error:
        raise _no_driver(parsed, error) from None
    except RuntimeError as error:
        raise StorageError(
            f"{mask_url(url)} holds studies of another Optuna version: {error}"
        ) from error
    try:
        if backend == "sqlite":
            _write_safely(storage)
        yield optuna.storages.get_storage(storage)
    finally:
        # SQLAlchemy would log an interrupt here with a traceback.
        with defer_signals(wait=True) as interrupted:
            storage.remove_session()
            storage.engine.dispose()
        if interrupted():
            raise KeyboardInterrupt


def check_driver(url: str) -> None:
    """Check that the driver of a database is installed.

    Raises:
        StorageError: not a database URL, or a driver that no extra installs is missing.
        MissingExtraError: the driver of an extra is not installed.
    """
    parsed = _parsed(url)
    try:
        parsed.get_dialect().import_dbapi()
    except ImportError as error:
        raise _no_driver(parsed, error) from None


def retry_until(call: Callable[[], T], masked_url: str, patience: float | None = None) -> T:
    """Retry a call while the database does not answer, with increasing pauses.

    Raises:
        StorageError: no answer in that time. For SQLite, at once: it has already waited.
    """
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except NO_ANSWER as error:
            reason = _reason(error)
            if masked_url.startswith("sqlite"):
                raise StorageError(
                    f"{masked_url} cannot be used ({reason}): is the disk full, or the file in "
                    "use? Finished trials are kept: continue later with `resume`"
                ) from None
            if time.monotonic() + pause > end:
                raise StorageError(
                    f"{masked_url} does not answer ({reason}): check the address and the server. "
                    "Finished trials are kept: continue later with `resume`"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _parsed(url: str) -> sqlalchemy.URL:
    """The parsed URL; errors do not repeat it, because any part may contain the password."""
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StorageError(
            "`storage` is not a database URL: give postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if "@" in (parsed.host or ""):
        raise StorageError("`storage` has too many @: write %40 in the user or password")
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
    """The driver's message in one line: SQLAlchemy's own text repeats whole statements."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return first_line(getattr(cause, "orig", None) or cause or error)


def _write_safely(storage: RDBStorage) -> None:
    """Sync every commit to disk, and serialise the writers."""

    def prepare(connection: Any, record: Any) -> None:
        # By default, sqlite3 begins a transaction only at its first write.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # A finished trial survives a power cut.
        connection.execute("PRAGMA synchronous=FULL")

    def begin(connection: sqlalchemy.Connection) -> None:
        # SQLite has no SELECT FOR UPDATE, which elsewhere lets only one worker take a trial.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(storage.engine, "connect", prepare)
    sqlalchemy.event.listen(storage.engine, "begin", begin)
    storage.engine.dispose()
