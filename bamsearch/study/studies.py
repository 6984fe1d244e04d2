"""The two studies of a run in a database, and the run's options stored with them.

``NAME`` has the search's own trials, ``NAME (references)`` those of the baselines.
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
    """Raise RunError if a study has the name of a new run."""
    if _find(storage, name) is not None:
        raise _taken(name)


def create_studies(storage: BaseStorage, run: Run) -> None:
    """Create the studies of a new run.

    Raises:
        RunError: a study of this name exists.
    """
    check_free(storage, run.name)
    try:
        # If two searches start at the same time, only one succeeds.
        _create_baselines(storage, run)
    except DuplicatedStudyError as error:
        raise _taken(run.name) from error
    _complete(storage, run)


def complete_studies(storage: BaseStorage, run: Run) -> None:
    """Create the missing studies of a run whose search was killed while it created them.

    Raises:
        RunError: a study of this name exists that is not a run's.
    """
    study = _find(storage, run.name)
    if study is not None and (study.user_attrs or study.get_trials(deepcopy=False)):
        raise _not_a_run(run.name)
    _create_baselines(storage, run, load_if_exists=True)
    _complete(storage, run)


def store_run(storage: BaseStorage, run: Run) -> None:
    """Update the stored options of a run, for example its number of trials."""
    _load(storage, run.name).set_user_attr(_RUN, run.to_json())


def find_stored_run(storage: BaseStorage, name: str) -> Run | None:
    """The run stored in a database; None if it is missing or incomplete.

    Raises:
        RunError: it cannot be read, or was written by a newer bamsearch.
    """
    study = _find(storage, name)
    text = None if study is None else study.user_attrs.get(_RUN)
    return None if text is None else Run.from_json(text, f"run {name}")


def stored_run(storage: BaseStorage, name: str) -> Run:
    """The run stored in a database.

    Raises:
        RunError: no run of this name, or one that cannot be read or was written by a newer
            bamsearch.
    """
    run = find_stored_run(storage, name)
    if run is not None:
        return run
    if _find(storage, name) is not None:
        raise _not_a_run(name)
    names = [study.study_name for study in storage.get_all_studies() if _RUN in study.user_attrs]
    raise RunError(f"no run {name} in this database: it has {', '.join(names) or 'no runs yet'}")


def baselines_name(name: str) -> str:
    """The name of the study of a run's baselines."""
    return f"{name} (references)"


def no_sampler() -> optuna.samplers.BaseSampler:
    """A sampler for studies that do not sample; Optuna's default changes between versions."""
    return optuna.samplers.RandomSampler(seed=0)


def _create_baselines(storage: BaseStorage, run: Run, *, load_if_exists: bool = False) -> None:
    optuna.create_study(
        storage=storage,
        study_name=baselines_name(run.name),
        direction=StudyDirection.MAXIMIZE,
        sampler=no_sampler(),
        load_if_exists=load_if_exists,
    )


def _complete(storage: BaseStorage, run: Run) -> None:
    directions = [
        StudyDirection.MAXIMIZE if objective == "score" else StudyDirection.MINIMIZE
        for objective in run.objectives
    ]
    study = optuna.create_study(
        storage=storage,
        study_name=run.name,
        directions=directions,
        sampler=no_sampler(),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        # Marked experimental since Optuna 3.2.
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(run.objectives))
    # Written last: a study without it is incomplete.
    study.set_user_attr(_RUN, run.to_json())


def _load(storage: BaseStorage, name: str) -> Study:
    return optuna.load_study(study_name=name, storage=storage, sampler=no_sampler())


def _find(storage: BaseStorage, name: str) -> Study | None:
    try:
        return _load(storage, name)
    except KeyError:
        return None


def _not_a_run(name: str) -> RunError:
    return RunError(f"study {name} in this database is not a bamsearch run: choose another name")


def _taken(name: str) -> RunError:
    return RunError(
        f"study {name} already exists in this database: continue with `resume={name}`, "
        "or choose another `name`"
    )
