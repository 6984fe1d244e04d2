"""``bamsearch worker``: score trials of a run in a shared database."""

from __future__ import annotations

import signal
import time

import click

from bamsearch.cli import options
from bamsearch.cli.console import Console
from bamsearch.cli.model_work import silence_third_party
from bamsearch.errors import InvalidValueError
from bamsearch.study.jobs import STORAGE_VARIABLE, orphaned


@options.command(
    "worker",
    examples=[
        "bamsearch worker resnet101-8g-001 --storage postgresql+psycopg://me@host/db",
        "BAMSEARCH_STORAGE=postgresql+psycopg://me@host/db bamsearch worker resnet101-8g-001",
    ],
)
@click.argument("name", metavar="NAME")
@options.storage
@options.device
@options.timeout
@options.pass_console
def worker(
    console: Console, name: str, storage: str | None, device: str, timeout: float | None
) -> None:
    """Score trials of run NAME until all are finished; several workers can share a run."""
    if storage is None:
        raise InvalidValueError(
            f"a worker needs the database of {name}: give --storage URL, or set {STORAGE_VARIABLE}"
        )
    # Slurm ends jobs with SIGTERM: release the trial at once for another worker, rather than
    # after missed heartbeats.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    end = None if timeout is None else time.monotonic() + timeout

    def stop() -> bool:
        return orphaned() or (end is not None and time.monotonic() >= end)

    with console.progress(f"working on {name}"), silence_third_party(console):
        from bamsearch.study.run import work_on

        run, ended = work_on(name, storage, device=device, stop=stop)
    console.print(f"{run.name}: {'all trials finished' if ended else 'stopped, trials remaining'}")
    console.finish({"see": f"bamsearch search --resume {name} --storage URL"})
