"""Runs the worker processes of a search on this machine."""

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
"""Environment variable with the database URL: an argument would show its password to all users."""

PARENT_VARIABLE = "BAMSEARCH_PARENT"
"""Environment variable with the process that started a worker: a worker ends when it is gone."""

FOLDER_VARIABLE = "BAMSEARCH_RUN_FOLDER"
"""Environment variable with the folder of the run, for workers on the machine of the search."""

_POLL = 0.5  # seconds
_PATIENCE = 10.0  # seconds that workers have to end
_REPLACED = 20
"""Deaths in a row without a score after which workers are not replaced: no design causes that."""

# Exit codes that are not deaths: done, bad input, nothing to do, interrupted.
_EXIT_CODES = (0, 2, 3, 130)


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
    """Run workers until all trials are finished; a worker that dies is replaced.

    ``stop`` and ``finished`` are called twice per second: ``stop`` ends the workers, and their
    trials are requeued; ``finished`` collects finished trials and returns whether any is scored.

    Returns:
        True if all trials are finished, False if the search was stopped.

    Raises:
        RunError: all workers failed, or keep dying without scoring a trial.
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
                for index, code in enumerate(codes):
                    if code not in (None, *_EXIT_CODES) and deaths < _REPLACED:
                        deaths += 1
                        workers[index], codes[index] = start(), None
                if None not in codes:
                    break
                time.sleep(_POLL)
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
        # Ctrl-C goes to the search, which then ends its workers.
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
