"""The database of a study: opened with patience, and without ever showing its password."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from bamsearch.errors import MissingExtraError, StorageError

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for which a database that does not answer is asked again."""

MOST_RETRIES = 3
"""How often a trial is tried again whose worker died; a design may be what kills it."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# Two beats may be lost to a busy machine.
_BEATS = 3


def sqlite_url(path: Path) -> str:
    """The URL of a study in a file."""
    return f"sqlite:///{path.absolute()}"


def shown_url(url: str) -> str:
    """A database's URL without its password, for people, logs and records.

    Raises:
        StorageError: not a URL of a database.
    """
    return _parsed(url).render_as_string(hide_password=True)


def open_storage(
    url: str, *, heartbeat: int | None = None, patience: float = PATIENCE
) -> BaseStorage:
    """Connect to a database, and make Optuna's tables where they are missing.

    Args:
        url: as SQLAlchemy takes it: ``postgresql+psycopg://USER@HOST/DB``, ``sqlite:///FILE``.
        heartbeat: seconds between a worker's signs of life; None where only one process works.
        patience: seconds for which a database that does not answer is asked again.

    Raises:
        StorageError: no such database, no answer, or tables of another Optuna.
        MissingExtraError: its driver is not installed.
    """
    parsed = _parsed(url)
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_backend_name() == "sqlite":
        # Seconds that a writer waits for another one.
        arguments["connect_args"] = {"timeout": 60}

    def connect() -> RDBStorage:
        with warnings.catch_warnings():
            # Heartbeats are called experimental since Optuna 2.9.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs=arguments,
                heartbeat_interval=heartbeat,
                grace_period=None if heartbeat is None else _BEATS * heartbeat,
                heartbeat_stale_trial_callback=retry_after_death,
            )

    try:
        storage = patiently(connect, shown_url(url), patience)
    except ImportError as error:
        raise MissingExtraError("psycopg", "cluster") from error
    except RuntimeError as error:
        raise StorageError(f"{shown_url(url)} holds studies of another Optuna: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        _log_ahead(storage)
    cached: BaseStorage = optuna.storages.get_storage(storage)
    return cached


def retry(study: Study, trial: FrozenTrial) -> None:
    """Let a trial that was interrupted wait again, as the same design."""
    _again(study, trial, trial.user_attrs, TrialState.WAITING)


def retry_after_death(study: Study, trial: FrozenTrial) -> None:
    """The same for a trial whose worker died; but not for ever, as the design may be why."""
    deaths = trial.user_attrs.get("deaths", 0) + 1
    attrs = trial.user_attrs | {"deaths": deaths}
    if deaths <= MOST_RETRIES:
        _again(study, trial, attrs, TrialState.WAITING)
    else:
        reason = f"the process that scored it died, {deaths} times"
        _again(study, trial, attrs | {"reason": reason}, TrialState.FAIL)


def _again(study: Study, trial: FrozenTrial, attrs: dict[str, Any], state: TrialState) -> None:
    study.add_trial(
        create_trial(
            state=state,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attrs,
            system_attrs=trial.system_attrs,
        )
    )


def patiently(call: Callable[[], T], shown: str, patience: float = PATIENCE) -> T:
    """Call again while the database does not answer, with longer and longer pauses.

    Args:
        call: what needs the database.
        shown: its URL for the error, without a password.
        patience: seconds until it is given up.

    Raises:
        StorageError: no answer in that time.
    """
    end = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except (SQLAlchemyError, StorageInternalError) as error:
            reason = _reason(error)
            if time.monotonic() + pause > end:
                raise StorageError(
                    f"{shown} does not answer ({reason}): is the address right, and the server up? "
                    "What is finished is kept: go on later with --resume"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _parsed(url: str) -> sqlalchemy.URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        # The text may hold a password: it is not repeated.
        raise StorageError(
            "--storage is no URL of a database: give postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    except ImportError as error:
        raise MissingExtraError("psycopg", "cluster") from error
    return parsed


def _reason(error: BaseException) -> str:
    """What the driver said, in one line: SQLAlchemy's own text repeats whole statements."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    said = getattr(cause, "orig", None) or cause or error
    lines = str(said).splitlines() or [type(said).__name__]
    return lines[0].strip()


def _log_ahead(storage: RDBStorage) -> None:
    """Write-ahead logging: a commit is one write to disk, and readers do not block the writer."""

    def prepare(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        # Every commit is on the disk before it returns: a finished trial outlives a power cut.
        connection.execute("PRAGMA synchronous=FULL")

    sqlalchemy.event.listen(storage.engine, "connect", prepare)
    storage.engine.dispose()
