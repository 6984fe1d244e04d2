"""Workers as processes of their own on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bamsearch.errors import RunError

STORAGE_VARIABLE = "BAMSEARCH_STORAGE"
"""Where workers find the database: an argument would show its password to all on the machine."""

PARENT_VARIABLE = "BAMSEARCH_PARENT"
"""The process that started a worker: it ends when that is gone."""

_LOOK = 0.5
_PATIENCE = 10.0


def run_workers(
    name: str,
    url: str,
    number: int,
    *,
    log: Path,
    stop: Callable[[], bool],
    finished: Callable[[], None],
) -> bool:
    """Run workers until no trial is left.

    Args:
        name: of the run.
        url: of the database.
        number: how many processes.
        log: where they write what they say.
        stop: asked twice a second; then they are ended, and what they score waits again.
        finished: called twice a second, to look at what is new.

    Returns:
        True if no trial is left, False if it was stopped.

    Raises:
        RunError: all workers failed.
    """
    environment = os.environ | {STORAGE_VARIABLE: url, PARENT_VARIABLE: str(os.getpid())}
    with open(log, "a", encoding="utf-8") as output:
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "bamsearch", "worker", name, "--quiet"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the search, which then ends its workers.
                start_new_session=True,
            )
            for _ in range(number)
        ]
        try:
            while any(worker.poll() is None for worker in workers):
                if stop():
                    return False
                finished()
                time.sleep(_LOOK)
        finally:
            _end(workers)
    codes = {worker.returncode for worker in workers}
    if 0 not in codes:
        last = _last_line(log)
        raise RunError(f"all {number} workers ended early: {last or f'see {log}'}")
    return True


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
