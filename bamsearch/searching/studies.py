"""A run's two studies in a database: made, found, and what was asked for kept with them.

``NAME`` has the search's own trials, ``NAME (references)`` the designs that it is compared with.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection

from bamsearch.errors import RunError
from bamsearch.records import Run

_RUN = "bamsearch"


def check_free(storage: BaseStorage, name: str) -> None:
    """Raise RunError where a study has the name of a new run."""
    if _found(storage, name) is not None:
        raise _taken(name)


def create_studies(storage: BaseStorage, run: Run) -> None:
    """Make a new run's studies.

    Raises:
        RunError: there is a study of this name.
    """
    check_free(storage, run.name)
    try:
        # Of two searches that begin at the same time, only one makes it.
        _references(storage, run)
    except DuplicatedStudyError as error:
        raise _taken(run.name) from error
    _make_whole(storage, run)


def complete_studies(storage: BaseStorage, run: Run) -> None:
    """Make what is missing of a run's studies, whose search was killed while it made them.

    Raises:
        RunError: there is a study of this name that is no run's.
    """
    study = _found(storage, run.name)
    if study is not None and (study.user_attrs or study.get_trials(deepcopy=False)):
        raise _no_run(run.name)
    _references(storage, run, load_if_exists=True)
    _make_whole(storage, run)


def store_run(storage: BaseStorage, run: Run) -> None:
    """Write what a run is asked for anew, as when more trials are wanted."""
    _loaded(storage, run.name).set_user_attr(_RUN, run.to_json())


def find_stored_run(storage: BaseStorage, name: str) -> Run | None:
    """What a run in a database was asked for; None if it is not there, or was not made whole.

    Raises:
        RunError: not readable, or made by a newer bamsearch.
    """
    study = _found(storage, name)
    text = None if study is None else study.user_attrs.get(_RUN)
    return None if text is None else Run.from_json(text, f"run {name}")


def stored_run(storage: BaseStorage, name: str) -> Run:
    """What a run in a database was asked for.

    Raises:
        RunError: no run of this name, not readable, or made by a newer bamsearch.
    """
    run = find_stored_run(storage, name)
    if run is not None:
        return run
    if _found(storage, name) is not None:
        raise _no_run(name)
    names = [study.study_name for study in storage.get_all_studies() if _RUN in study.user_attrs]
    there = f"there are {', '.join(names)}" if names else "there is none yet"
    raise RunError(f"no run {name} in this database: {there}")


def references_name(name: str) -> str:
    """The study that has a run's references."""
    return f"{name} (references)"


def proposes_nothing() -> optuna.samplers.BaseSampler:
    """A sampler for studies that ask none; Optuna's default changes between versions."""
    return optuna.samplers.RandomSampler(seed=0)


def _references(storage: BaseStorage, run: Run, *, load_if_exists: bool = False) -> None:
    optuna.create_study(
        storage=storage,
        study_name=references_name(run.name),
        direction=StudyDirection.MAXIMIZE,
        sampler=proposes_nothing(),
        load_if_exists=load_if_exists,
    )


def _make_whole(storage: BaseStorage, run: Run) -> None:
    directions = [
        StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
        for objective in run.objectives
    ]
    study = optuna.create_study(
        storage=storage,
        study_name=run.name,
        directions=directions,
        sampler=proposes_nothing(),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        # Called experimental since Optuna 3.2.
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(run.objectives))
    # Last: a study without it was not made whole.
    study.set_user_attr(_RUN, run.to_json())


def _loaded(storage: BaseStorage, name: str) -> Study:
    return optuna.load_study(study_name=name, storage=storage, sampler=proposes_nothing())


def _found(storage: BaseStorage, name: str) -> Study | None:
    try:
        return _loaded(storage, name)
    except KeyError:
        return None


def _no_run(name: str) -> RunError:
    return RunError(f"study {name} in this database is no run of bamsearch: choose another name")


def _taken(name: str) -> RunError:
    return RunError(
        f"there is a study {name} in this database: go on with --resume {name}, "
        "or choose another --name"
    )
