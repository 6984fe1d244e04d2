"""Workers as processes of their own on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from bamsearch.errors import RunError

STORAGE_VARIABLE = "BAMSEARCH_STORAGE"
"""Where workers find the database: an argument would show its password to all on the machine."""

PARENT_VARIABLE = "BAMSEARCH_PARENT"
"""The process that started a worker: it ends when that is gone."""

FOLDER_VARIABLE = "BAMSEARCH_RUN_FOLDER"
"""The run's folder, for the workers that a search starts on its own machine."""

_LOOK = 0.5
_PATIENCE = 10.0
_REPLACED = 20
"""After so many deaths and no score a search stops: it is not a design that kills workers."""

# What the command line ends with when it knows why: done, bad input, nothing to do, interrupted.
_KNOWN_CODES = (0, 2, 3, 130)


def run_workers(
    name: str,
    url: str,
    number: int,
    *,
    device: str = "auto",
    log: Path,
    stop: Callable[[], bool],
    finished: Callable[[], bool],
) -> bool:
    """Run workers until no trial is left; one that dies is replaced.

    Args:
        name: of the run.
        url: of the database.
        number: how many processes.
        device: where they score.
        log: where they write what they say, in the run's folder.
        stop: asked twice a second; then they are ended, and what they score waits again.
        finished: called twice a second, to look at what is new; whether there is a new score.

    Returns:
        True if no trial is left, False if it was stopped.

    Raises:
        RunError: all workers failed, or they die and nothing is scored.
    """
    environment = os.environ | {
        STORAGE_VARIABLE: url,
        PARENT_VARIABLE: str(os.getpid()),
        FOLDER_VARIABLE: str(log.parent.absolute()),
    }
    deaths = 0
    with open(log, "a", encoding="utf-8") as output:
        start = partial(_start, name, device, environment, output)
        workers = [start() for _ in range(number)]
        try:
            while True:
                if stop():
                    return False
                if finished():
                    deaths = 0
                codes = [worker.poll() for worker in workers]
                for place, code in enumerate(codes):
                    if code not in (None, *_KNOWN_CODES) and deaths < _REPLACED:
                        deaths += 1
                        workers[place], codes[place] = start(), None
                if None not in codes:
                    break
                time.sleep(_LOOK)
        finally:
            _end(workers)
    if 0 not in codes:
        last = _last_line(log)
        raise RunError(f"all {number} workers ended early: {last or f'see {log}'}")
    return True


def _start(
    name: str, device: str, environment: dict[str, str], output: TextIO
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bamsearch", "worker", name, "--device", device, "--quiet"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        # Ctrl-C is for the search, which then ends its workers.
        start_new_session=True,
    )


def orphaned() -> bool:
    """Whether the search that started this worker is gone."""
    parent = os.environ.get(PARENT_VARIABLE)
    return parent is not None and os.getppid() != int(parent)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    end = time.monotonic() + _PATIENCE
    for worker in workers:
        try:
            worker.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8").splitlines()
    return lines[-1].removeprefix("bamsearch: error: ") if lines else ""
