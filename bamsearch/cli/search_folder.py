"""Where a new run goes: nothing that is there is overwritten, unless it is a run and so asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.cli.output import check_output_folder
from bamsearch.errors import OutputError, ScoreError
from bamsearch.records import Run, RunRecord
from bamsearch.records.run_files import RUN_FILE

if TYPE_CHECKING:
    from bamsearch.searching.folder import RunFolder


def check_folder(folder: Path, *, force: bool) -> None:
    """Look whether a run can be made there.

    Args:
        folder: of the run.
        force: an earlier run may be there.

    Raises:
        OutputError: a run is there, or something else.
    """
    is_run = (folder / RUN_FILE).is_file()
    if is_run and not force:
        raise OutputError(
            f"{folder} is a run already: go on with --resume {folder.name}, choose another name, "
            "or add --force to start it anew"
        )
    # Here, as it loads Optuna.
    from bamsearch.searching.folder import RunFolder

    check_output_folder(
        folder,
        force=(force and is_run) or RunFolder(folder).unbegun,
        advice="it holds no run, so choose another path",
    )


def is_unfinished(folder: RunFolder) -> bool:
    """Whether a run is there, and its search was interrupted."""
    return (folder.path / RUN_FILE).is_file() and not folder.ended


def same_search(planned: Run, there: Run) -> bool:
    """Whether a run was asked for by the same options, whatever it is called."""
    both = []
    for run in (planned, there):
        plain = replace(
            run,
            name="",
            storage=None,
            command="",
            versions={},
            git_commit=None,
            created="",
            audit=None,
            # Times are measured, and differ each time.
            added={},
            latency=None,
            heartbeat=0,
        )
        both.append(json.loads(plain.to_json()))
    return bool(both[0] == both[1])


def check_scored(record: RunRecord) -> None:
    """Raise ScoreError where the search has tried designs, and all of them failed."""
    trials = record.trials
    if trials and all(trial.state == "failed" for trial in trials):
        raise ScoreError(f"all {len(trials)} designs failed: {trials[-1].reason}")


def made_folder(run: Run, name: str | None, output: Path | None, *, force: bool) -> RunFolder:
    """Make the folder of a new run, below ``runs/`` unless said otherwise.

    Args:
        run: what was asked for; a folder without a name is called after it.
        name: of the folder below ``runs/``.
        output: the folder; neither or one of the two.
        force: remove the files of an earlier run that is there.

    Raises:
        OutputError: it cannot be made.
        RunError: another process works in it.
    """
    from bamsearch.searching.folder import RunFolder, named_folder, new_folder

    if name is None and output is None:
        return new_folder(run.model, run.budgets)
    folder = RunFolder(output) if output is not None else named_folder(name or "")
    check_folder(folder.path, force=force)
    if force and (folder.path / RUN_FILE).is_file():
        folder.clear()
    if not folder.path.is_dir():
        folder.create()
    return folder
