"""Folders of new runs: only a run is ever overwritten, and only with --force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bamsearch.errors import OutputError, ScoreError
from bamsearch.files import check_output_folder
from bamsearch.records import Run, RunRecord
from bamsearch.records.run_files import RUN_FILE

if TYPE_CHECKING:
    from bamsearch.study.folder import RunFolder


def check_folder(folder: Path, *, force: bool) -> None:
    """Check that a run can be created in the folder.

    Args:
        folder: folder of the run.
        force: accept a folder with an earlier run.

    Raises:
        OutputError: the folder has a run or other files.
    """
    is_run = (folder / RUN_FILE).is_file()
    if is_run and not force:
        raise OutputError(
            f"{folder} is a run already: continue with --resume {folder.name}, choose another "
            "name, or add --force to start it again"
        )
    check_output_folder(
        folder, force=force and is_run, advice="it is not a run, so choose another path"
    )


def is_unfinished_search(folder: RunFolder) -> bool:
    """Whether the folder has a run whose search was interrupted."""
    return folder.is_run and not folder.ended


def same_search(planned: Run, recorded: Run) -> bool:
    """Whether two runs have the same options, ignoring names, versions and measured times."""
    values = []
    for run in (planned, recorded):
        comparable = replace(
            run,
            name="",
            storage=None,
            command="",
            versions={},
            git_commit=None,
            created="",
            audit=None,
            started_in=None,
            # Measured times differ each time.
            added={},
            latency=None,
            heartbeat=0,
        )
        values.append(json.loads(comparable.to_json()))
    return bool(values[0] == values[1])


def check_scored(record: RunRecord) -> None:
    """Raise ScoreError if all trials of a search failed."""
    trials = record.trials
    if trials and all(trial.state == "failed" for trial in trials):
        raise ScoreError(f"all {len(trials)} designs failed: {trials[-1].reason}")
